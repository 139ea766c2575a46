from collections.abc import Callable

from dynomite_mp.workers.leading import Leading

class PeerService(Leading):
    """What other nodes ask of this node itself."""

    def set_on_call(self, on_call: Callable[[int, str, bytes], bool] | None, first_id: int) -> None:
        """on_call(call id, address of the peer, payload); its answer comes by answer_call."""
    def set_on_stall(self, on_stall: Callable[[], object] | None, stall_ms: int) -> None:
        """on_stall() is called before the first request after the process stood still for so long."""
    def answer_call(self, call_id: int, reply: bytes) -> None:
        """`reply` is RESP; one to a call that nobody waits for any more is dropped."""
    def expire_calls(self) -> None:
        """Calls that the replication process leaves unanswered get an error."""
