# The face of datastore_conn.pyx: a connection to the datastore.
from dynomite_mp.proto.resp cimport ReplyScan
from dynomite_mp.workers.target_conn cimport TargetConn


cdef class DatastoreConn(TargetConn):
    cdef readonly int group
    cdef readonly int index
    cdef ReplyScan scan

    cdef void release(self)
    cdef bint gathers(self) noexcept
