"""Who owns a token in one rack: the circle of tokens, sorted, and the search in it.

    tokens    100        2000       90000              owner(h) = the smallest token >= h,
    owners    node 1     node 0     node 1             and beyond the last one the first
              (..100]    (..2000]   (..90000]  and (90000..) wraps to node 1

A token that equals the hash owns it. A node may have any number of tokens. Every rack is resolved with its own tokens.

This is not the place that knows nodes or addresses: an owner is a place in the rack's list of nodes.

Invariants: built once, never changed; tokens are strictly increasing.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc

from dynomite_mp.errors import TopologyError


cdef class Continuum:
    """The circle of one rack; `token_lists[i]` are the tokens of the rack's node i."""

    def __cinit__(self, token_lists):
        cdef uint32_t i = 0
        pairs = sorted((token, place) for place, tokens in enumerate(token_lists) for token in set(tokens))
        self.count = len(pairs)
        self.nodes = len(token_lists)
        self.tokens = <uint32_t*>malloc(max(1, len(pairs)) * sizeof(uint32_t))
        self.owners = <uint32_t*>malloc(max(1, len(pairs)) * sizeof(uint32_t))
        if self.tokens == NULL or self.owners == NULL:
            raise MemoryError
        for token, place in pairs:
            if not 0 <= token <= 0xFFFFFFFF:
                raise TopologyError(f"token {token} is not in 0 .. 4294967295", "reduce it")
            if i and self.tokens[i - 1] == <uint32_t>token:
                raise TopologyError(f"token {token} belongs to two nodes of a rack", "give every node its own")
            self.tokens[i] = token
            self.owners[i] = place
            i += 1

    def __dealloc__(self):
        free(self.tokens)
        free(self.owners)

    cdef int c_owner(self, uint32_t token) noexcept nogil:
        cdef uint32_t low = 0
        cdef uint32_t size = self.count
        cdef uint32_t half
        if size == 0:
            return -1
        # First place whose token is not below; the loop has no branch that depends on the key.
        while size > 1:
            half = size >> 1
            low += half if self.tokens[low + half - 1] < token else 0
            size -= half
        low += self.tokens[low] < token
        return self.owners[low if low < self.count else 0]

    def owner(self, token):
        """Place of the owning node among the rack's nodes; TopologyError in a rack without tokens."""
        if not 0 <= token <= 0xFFFFFFFF:
            raise ValueError(f"token {token} is not in 0 .. 4294967295")
        cdef int place = self.c_owner(token)
        if place < 0:
            raise TopologyError("the rack has no token", "give its nodes tokens")
        return place

    def entries(self):
        """(token, place of its node) in the order of the circle."""
        cdef uint32_t i
        return [(self.tokens[i], self.owners[i]) for i in range(self.count)]

    def ranges_of(self, place):
        """The ranges (after, upto] that a node owns; with after >= upto the range wraps around zero."""
        cdef uint32_t i
        out = []
        for i in range(self.count):
            if self.owners[i] == <uint32_t>place:
                out.append((self.tokens[i - 1 if i else self.count - 1], self.tokens[i]))
        return out

    def __len__(self):
        return self.count


def continuum_of(rack):
    """The circle of a topology.Rack; owners are places in rack.nodes."""
    return Continuum([node.tokens for node in rack.nodes])
