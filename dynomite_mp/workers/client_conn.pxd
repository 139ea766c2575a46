# The face of client_conn.pyx: a client's connection.
from libc.stdint cimport uint64_t

from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.source_conn cimport SourceConn


cdef class ClientConn(SourceConn):
    cdef RequestScan scan
    cdef bint is_lingering          # write side shut down, input is thrown away
    cdef uint64_t linger_until_ns
    cdef readonly object session    # None until a command needs one
