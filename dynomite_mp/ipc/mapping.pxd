"""Header of a shared mapping that owns no file descriptor."""

from libc.stddef cimport size_t


cdef class Mapping:
    cdef void* address
    cdef size_t size
    cdef bint readonly
