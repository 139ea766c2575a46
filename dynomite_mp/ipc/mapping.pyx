"""A shared mapping of a file descriptor, as a buffer. It keeps no descriptor.

The mmap module keeps a duplicate of the descriptor for the life of the map. A worker closes every descriptor that is
not in its list, so that number would later belong to something else, and the map would close it.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.exc cimport PyErr_SetFromErrno
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap


cdef class Mapping:
    """`size_bytes` of `fd` from its start; unmapped when the last view of it is gone."""

    def __cinit__(self, int fd, size_t size_bytes, *, bint readonly=False):
        cdef void* address = mmap(NULL, size_bytes, PROT_READ if readonly else PROT_READ | PROT_WRITE, MAP_SHARED,
                                  fd, 0)
        if address == MAP_FAILED:
            PyErr_SetFromErrno(OSError)
        self.address = address
        self.size = size_bytes
        self.readonly = readonly

    def __dealloc__(self):
        if self.address != NULL:
            munmap(self.address, self.size)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.address, self.size, self.readonly, flags)

    def __len__(self):
        return self.size
