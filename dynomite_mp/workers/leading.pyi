from dynomite_mp.workers.fanout import Fanout

class WaitingLead:
    """A request that no rack wanted to lead, and its bytes."""

class Leading(Fanout):
    @property
    def is_leading(self) -> bool: ...
    def set_far_c_nodes(self, are_there: bool) -> None:
        """Whether other datacenters have nodes of C Dynomite."""
    def set_leading(self, address: bytes, is_leading: bool) -> bool:
        """A node leads from now on, or no longer; False when it is another one to which no connection is up."""
    def can_lead(self) -> bool:
        """Whether this worker can execute commands; not once after it had been stopped, so that others hear of it."""
    def next_lead_epoch(self) -> int:
        """Begins a new epoch; returns the one that has ended, whose requests leads_of() counts."""
    def leads_of(self, epoch: int) -> int:
        """Requests of an epoch that were executed here and are not finished."""
