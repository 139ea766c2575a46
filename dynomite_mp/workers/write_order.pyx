"""The order of writes between the two protocol groups of the datastore's connections.

One key has one connection within a group, so its writes have one order there. Between the groups nothing would keep
it: a write waits while the other group owes a reply to a write of the same bucket of keys. Who waits first goes first:
while somebody waits for a bucket, later writes of it wait too, in either group.

Nearly always only one group writes, and then the buckets would be three cache misses per write for nothing. So a write
is tracked only while writes of both groups meet. When they do for the first time, those already on their way are known
by number alone: the newcomer waits until they are all answered, once.

What it is not: it holds no request and no client; io_path does.

Invariant: for each group, `untracked` and the sum over the buckets make `total`.
"""

from libc.stdlib cimport calloc, free
from libc.stdint cimport uint32_t


cdef class WriteOrder:
    def __cinit__(self):
        cdef int group
        for group in range(2):
            self.pending[group] = <uint32_t*>calloc(ORDER_BUCKETS, sizeof(uint32_t))
        self.waiters = <uint32_t*>calloc(ORDER_BUCKETS, sizeof(uint32_t))
        if self.pending[0] == NULL or self.pending[1] == NULL or self.waiters == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.pending[0])
        free(self.pending[1])
        free(self.waiters)
