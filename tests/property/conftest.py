"""One profile for all laws: no test asserts a duration, and a failure prints how to see it again."""

from hypothesis import settings

settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")
