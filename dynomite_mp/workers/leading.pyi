from dynomite_mp.workers.fanout import Fanout

class WaitingLead:
    """A request that no rack wanted to lead, and its bytes."""

class Leading(Fanout):
    @property
    def is_leading(self) -> bool: ...
    def set_leading(self, is_leading: bool) -> None:
        """Whether this node may lead: the others of its datacenter have been told."""
    def set_peer_leading(self, node: int, is_leading: bool) -> bool:
        """Another node says that it leads, or that it does not; False when no connection to it is up."""
