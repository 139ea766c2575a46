# The face of datastore_conn.pyx: a connection to the datastore.
from libc.stdint cimport uint64_t

from dynomite_mp.proto.resp cimport ReplyScan
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport SlotQueue


cdef class DatastoreConn(Conn):
    cdef DataPath path
    cdef object owner               # DatastoreLink: connects and reconnects
    cdef readonly int group
    cdef readonly int index
    cdef SlotQueue slots
    cdef uint64_t sent              # slots before this position have left completely
    cdef ReplyScan scan
    cdef readonly bint is_connecting
    cdef readonly bint is_up        # handshake done
    cdef readonly bint is_silent
    cdef uint64_t last_activity_ns
    cdef uint64_t last_probe_ns

    cdef uint64_t unsent(self) noexcept
    cdef int handshake_reply(self, const char* p, size_t n) except -1
    cdef int expire(self, uint64_t timeout_ns) except -1
    cdef void watch_silence(self) noexcept
