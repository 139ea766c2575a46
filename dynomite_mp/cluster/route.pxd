# Who gets a request. See route.pyx.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from dynomite_mp.cluster.continuum cimport Continuum
from dynomite_mp.cluster.lead cimport LeadOrder


cpdef enum:
    # Consistency, as enums.Consistency
    LEVEL_ONE = 0
    LEVEL_QUORUM = 1
    LEVEL_SAFE_QUORUM = 2
    LEVEL_EACH_SAFE_QUORUM = 3

    # How replies make an answer (Request.mode)
    PLAN_LOCAL = 0                  # this node's datastore, whatever the key
    PLAN_ONE_READ = 1               # the owner in this rack; another rack's when it is unreachable
    PLAN_ONE_WRITE = 2              # every rack's owner; this rack's reply is the answer
    PLAN_QUORUM = 3                 # every rack's owner; the majority's reply, else the first
    PLAN_SAFE_QUORUM = 4            # every rack's owner; the majority's reply, else an error
    PLAN_EACH_SAFE_QUORUM = 5       # the same in every datacenter

    PLAN_LEAD = 6                   # executed at one rack, the best of cluster.lead; its reply
    PLAN_EFFECT = 7                 # what that rack sends to the others
    PLAN_PROBE = 8                  # what it asks its own datastore to tell the effect

    NO_OWNER = -1


cdef class RouteTable:
    cdef readonly uint64_t version
    cdef readonly int racks         # of this datacenter
    cdef readonly int my_rack
    cdef readonly int local_node
    cdef readonly int nodes         # of this datacenter; a node is an index into node_list
    cdef readonly tuple node_list   # topology.Node
    cdef readonly tuple addresses   # their peer addresses as bytes, host:port
    cdef readonly bint is_alone     # one node in this datacenter and no other datacenter
    cdef readonly bint has_remote   # other datacenters
    cdef readonly int remote_dcs
    cdef LeadOrder leads
    cdef list continuums
    cdef void** circles             # borrowed Continuum, by rack
    cdef int32_t** node_at          # by rack and place in the rack
    cdef int remote_racks           # of all other datacenters together
    cdef list remote_continuums
    cdef void** remote_circles      # borrowed Continuum, by rack

    cdef int owner(self, int rack, uint32_t token) noexcept nogil
    cdef int plan(self, bint is_write, int level, bint rack_only) noexcept nogil
    cdef uint64_t signature(self, uint32_t token, bint everywhere) noexcept nogil
