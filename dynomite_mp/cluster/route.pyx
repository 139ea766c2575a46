"""Who gets a request: a topology made ready for the data path, and the rule from level and access to a plan.

What it is: per rack of this datacenter the circle of tokens and the node behind each place; the table of plans.

What it is not: it does not know which node is reachable; that is the data path's, which asks for the next rack's owner.

    access   level            one rack        several racks
    read     DC_ONE           PLAN_ONE_READ   PLAN_ONE_READ
    write    DC_ONE           PLAN_ONE_WRITE  PLAN_ONE_WRITE
    any      DC_QUORUM        as DC_ONE       PLAN_QUORUM
    any      DC_SAFE_QUORUM   as DC_ONE       PLAN_SAFE_QUORUM
    any      DC_EACH_SAFE..   as DC_ONE       PLAN_SAFE_QUORUM; with other datacenters PLAN_EACH_SAFE_QUORUM

Invariants: built once from a Topology and never changed; every rack is resolved with its own tokens.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from dynomite_mp.cluster.continuum cimport Continuum

from dynomite_mp.cluster.continuum import continuum_of
from dynomite_mp.cluster.lead import LeadOrder


cdef class RouteTable:
    """The data path's view of a topology.Topology."""

    def __cinit__(self, topology):
        cdef int rack, place
        local = topology.local_dc
        self.version = topology.version
        self.racks = len(local.racks)
        self.my_rack = [rack_.name for rack_ in local.racks].index(topology.local.rack)
        self.node_list = tuple(node for rack_ in local.racks for node in rack_.nodes)
        self.nodes = len(self.node_list)
        self.addresses = tuple(node.address.encode() for node in self.node_list)
        self.local_node = [node.is_local for node in self.node_list].index(True)
        self.remote_dcs = len(topology.datacenters) - 1
        self.has_remote = self.remote_dcs > 0
        self.is_alone = self.nodes == 1 and not self.has_remote
        self.leads = LeadOrder([rack_.name for rack_ in local.racks])
        self.continuums = [continuum_of(rack_) for rack_ in local.racks]
        self.circles = <void**>malloc(self.racks * sizeof(void*))
        self.node_at = <int32_t**>calloc(self.racks, sizeof(int32_t*))
        self.remote_continuums = [continuum_of(rack_) for dc in topology.datacenters if dc.name != local.name
                                  for rack_ in dc.racks]
        self.remote_racks = len(self.remote_continuums)
        self.remote_circles = <void**>malloc((self.remote_racks + 1) * sizeof(void*))
        if self.circles == NULL or self.node_at == NULL or self.remote_circles == NULL:
            raise MemoryError
        for rack in range(self.remote_racks):
            self.remote_circles[rack] = <void*>(<Continuum>self.remote_continuums[rack])
        first = 0
        for rack, rack_ in enumerate(local.racks):
            self.circles[rack] = <void*>(<Continuum>self.continuums[rack])
            self.node_at[rack] = <int32_t*>malloc(len(rack_.nodes) * sizeof(int32_t))
            if self.node_at[rack] == NULL:
                raise MemoryError
            for place in range(len(rack_.nodes)):
                self.node_at[rack][place] = first + place
            first += len(rack_.nodes)

    def __dealloc__(self):
        cdef int rack
        if self.node_at != NULL:
            for rack in range(self.racks):
                free(self.node_at[rack])
        free(self.node_at)
        free(self.circles)
        free(self.remote_circles)

    cdef int owner(self, int rack, uint32_t token) noexcept nogil:
        """Index of the node that owns the token in this rack, NO_OWNER in a rack without tokens."""
        cdef int place = (<Continuum>self.circles[rack]).c_owner(token)
        return NO_OWNER if place < 0 else self.node_at[rack][place]

    cdef int plan(self, bint is_write, int level, bint rack_only) noexcept nogil:
        """The plan of a keyed request; rack_only: commands that C answers from this rack's owner alone."""
        if rack_only and not is_write:
            return PLAN_ONE_READ
        if level == LEVEL_EACH_SAFE_QUORUM and self.has_remote:
            return PLAN_EACH_SAFE_QUORUM
        if level != LEVEL_ONE and self.racks > 1:
            return PLAN_QUORUM if level == LEVEL_QUORUM else PLAN_SAFE_QUORUM
        return PLAN_ONE_WRITE if is_write else PLAN_ONE_READ

    cdef uint64_t signature(self, uint32_t token, bint everywhere) noexcept nogil:
        """Equal for tokens whose owners are the same in every rack; keys of one signature may travel together.

        `everywhere`: of every datacenter, for requests whose owners there are asked one by one. Who gets a whole
        request for his datacenter cuts it again himself.
        """
        cdef uint64_t mixed = 0
        cdef int rack
        for rack in range(self.racks):
            mixed = mixed * <uint64_t>1000003 + <uint64_t>(self.owner(rack, token) + 1)
        if everywhere:
            for rack in range(self.remote_racks):
                mixed = mixed * <uint64_t>1000003 + <uint64_t>(
                    (<Continuum>self.remote_circles[rack]).c_owner(token) + 1)
        return mixed

    # ---- for tests and the command line

    def owner_of(self, rack, token):
        return self.owner(rack, token)

    def plan_of(self, is_write, level, rack_only=False):
        return self.plan(is_write, level, rack_only)

    def signature_of(self, token, everywhere=False):
        return self.signature(token, everywhere)
