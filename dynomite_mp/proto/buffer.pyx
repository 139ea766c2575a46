"""The byte buffer of buffer.pxd, with a face for its test. All that matters is in the header; nothing here is on the
hot path, and nothing but the test uses ByteBuffer."""

from dynomite_mp.proto.buffer cimport (
    buf_append,
    buf_clear,
    buf_consume,
    buf_free,
    buf_init,
    buf_len,
    buf_ptr,
    buf_reserve,
    buf_room,
    buf_shrink_idle,
)


cdef class ByteBuffer:
    """A Buf with bounds checks."""

    def __cinit__(self):
        buf_init(&self.buf)

    def __dealloc__(self):
        buf_free(&self.buf)

    def append(self, bytes data):
        if buf_append(&self.buf, data, len(data)) < 0:
            raise MemoryError

    def reserve(self, size_t size):
        if buf_reserve(&self.buf, size) < 0:
            raise MemoryError

    def consume(self, size_t size):
        if size > buf_len(&self.buf):
            raise ValueError("more than the buffer holds")
        buf_consume(&self.buf, size)

    def clear(self):
        buf_clear(&self.buf)

    def shrink_idle(self, size_t keep_bytes):
        buf_shrink_idle(&self.buf, keep_bytes)

    def __bytes__(self):
        return buf_ptr(&self.buf)[:buf_len(&self.buf)] if buf_len(&self.buf) else b""

    def __len__(self):
        return buf_len(&self.buf)

    @property
    def room(self):
        return buf_room(&self.buf)

    @property
    def capacity(self):
        return self.buf.cap
