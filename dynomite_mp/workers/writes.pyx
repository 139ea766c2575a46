"""Which replicas missed a write: each of them becomes one record on the ring to the replication process.

What it is: the part of the plan engine (fanout) that knows what a write owes to its replicas. A replica that is down,
over its budget, lost, silent, too late, or says that it did not ask its datastore has missed the write, or may have;
one whose datastore answered an error, while another replica's did not, has refused it.

What it is not: it keeps no record and brings none; the replication process does.

Invariants: at most one record a replica and write; reads and writes that have one replica only leave none.
"""

from libc.stdint cimport uint64_t

from dynomite_mp.cluster.route cimport NO_OWNER
from dynomite_mp.proto.command_lookup cimport CommandRow, command_row
from dynomite_mp.workers.datastore_conn cimport DatastoreConn
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.remote_lane cimport RemoteLane
from dynomite_mp.workers.request cimport Request
from dynomite_mp.workers.stamps cimport COPY_REFUSED, Stamps
from dynomite_mp.workers.target_conn cimport TargetConn

cdef enum:
    RACKS_WATCHED = 64              # racks whose refusal is remembered until another one has taken the write


cdef class Writes(Stamps):
    cdef void expect(self, Request* request) noexcept:
        """Before a write goes to its replicas: from now on it is told who misses it."""
        request.is_owed = self.remote is not None and (self.table.racks > 1 or request.is_forwarded)

    cdef bytes address_of(self, TargetConn conn):
        """Peer address of the replica behind a connection."""
        cdef PeerOutConn peer
        if isinstance(conn, DatastoreConn):
            return <bytes>self.table.addresses[self.table.local_node]
        peer = <PeerOutConn>conn
        if peer.node >= 0:
            return <bytes>self.table.addresses[peer.node]
        return peer.owner.node.address.encode()     # it has left the topology while it owed the reply

    cdef int missed(self, Request* request, TargetConn conn, int kind, const char* p, size_t n) except -1:
        """The replica behind a connection; p[:n] is the request."""
        return self.hint(request, self.address_of(conn), kind, p, n)

    cdef int missed_by_owner(self, Request* request, int rack, int kind, const char* p, size_t n) except -1:
        cdef int node = self.table.owner(rack, request.token)
        if node == NO_OWNER:
            return 0
        return self.hint(request, <bytes>self.table.addresses[node], kind, p, n)

    cdef int hint(self, Request* request, bytes node, int kind, const char* p, size_t n) except -1:
        if kind == HINT_REFUSED and node is self.table.addresses[self.table.local_node]:
            self.copy_keys(request, p, n, COPY_REFUSED)     # the own copy is mended from the others
        else:
            self.remote.hint(request, command_row(request.command), kind, node, p, n)
        self.slab.add(self.cells.refused_writes if kind == HINT_REFUSED else self.cells.missed_writes, 1)
        if not self.in_turn:
            self.want_turn()                        # its end rings the bell
        return 0

    cdef int one_good(self, Request* request, const char* p, size_t n) except -1:
        """A replica has taken the write: those that refused it before differ from it."""
        cdef int rack
        cdef uint64_t refused = request.refused_racks
        request.is_taken = True
        request.refused_racks = 0
        for rack in range(RACKS_WATCHED):
            if (refused >> rack) & 1:
                self.missed_by_owner(request, rack, HINT_REFUSED, p, n)
        return 0

    cdef int one_refused(self, Request* request, int rack, const char* p, size_t n) except -1:
        """A replica's datastore answered an error; only when another one takes the write do they differ."""
        if request.is_taken:
            return self.missed_by_owner(request, rack, HINT_REFUSED, p, n)
        if rack < RACKS_WATCHED:
            request.refused_racks |= <uint64_t>1 << rack
        return 0

    cdef bint hold_write(self, Request* request, int rack, const CommandRow* row, const char* p, size_t n) except -1:
        """Hook, carried out by KeyHolds: whether this write waits for a copy of its key."""
        raise NotImplementedError

    def set_catching_up(self, bint is_catching_up):
        """This node may have missed writes: reads go to other racks, if any can take them."""
        self.is_catching_up = is_catching_up

    def set_remote(self, RemoteLane remote):
        self.remote = remote
        self.remote_wait_ns = remote.write_wait_ns

    def has_remote_lane(self):
        return self.remote is not None
