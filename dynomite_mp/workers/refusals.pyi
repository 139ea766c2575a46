"""Error replies that are no answer of a datastore: no Python face."""
