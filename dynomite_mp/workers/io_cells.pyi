# Nothing of it is visible to Python.
