"""The benchmark: one load, several proxies, CPU per request. `python -m tests.bench`."""
