# Error replies to clients as bytes, from the rows of errors.WIRE_ERRORS. Every function appends one whole reply line
# with its CRLF; 0, or -1 when memory is short.
from libc.stdint cimport uint16_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.resp cimport RequestScan


# The text of a code, without CRLF; length 0 for a code that does not exist.
cdef const char* error_text(uint16_t code, size_t* n) noexcept nogil
# Whether the connection closes after this error, as Redis does after a protocol error.
cdef bint error_closes(uint16_t code) noexcept nogil

cdef int append_error(Buf* out, uint16_t code) noexcept nogil
# "unknown command 'x', with args beginning with: 'a' 'b' "
cdef int append_unknown_command(Buf* out, const char* p, const RequestScan* s) noexcept nogil
# "unknown subcommand 'x'. Try CONFIG HELP."
cdef int append_unknown_subcommand(
    Buf* out, const CommandRow* container, const char* p, const RequestScan* s
) noexcept nogil
# "wrong number of arguments for 'get' command"
cdef int append_wrong_arity(Buf* out, const CommandRow* row) noexcept nogil
# Of a scan that ended with FRAME_ERROR: "expected '$', got 'x'", or the code's own text.
cdef int append_protocol_error(Buf* out, uint16_t code, const RequestScan* s) noexcept nogil
