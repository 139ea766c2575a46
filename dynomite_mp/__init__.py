"""dynomite-mp: sharding and replication in front of Redis and Memcached."""

__version__ = "0.1.0"
