from typing import NamedTuple

class RequestFrame(NamedTuple):
    args: list[bytes]
    raw: bytes
    is_inline: bool

class ReplyFrame(NamedTuple):
    kind: str
    is_push: bool
    is_error: bool
    has_attribute: bool
    raw: bytes

class FrameKeys(NamedTuple):
    keys: list[bytes]
    places: list[int]
    error: str | None
    refusal: str | None

class RequestFramer:
    """Takes a stream of request bytes in pieces and gives back whole requests; stops for good at the first error."""

    @property
    def error(self) -> str | None: ...
    @property
    def consumed(self) -> int: ...
    def feed(self, data: bytes) -> list[RequestFrame]: ...

class ReplyFramer:
    """Takes a stream of reply bytes in pieces and gives back whole replies; stops for good at the first error."""

    @property
    def error(self) -> str | None: ...
    @property
    def consumed(self) -> int: ...
    def feed(self, data: bytes) -> list[ReplyFrame]: ...

def frame_requests(data: bytes) -> tuple[list[RequestFrame], int, str | None]: ...
def frame_replies(data: bytes) -> tuple[list[ReplyFrame], int, str | None]: ...
def frame_keys(frame: bytes) -> FrameKeys: ...
def time_requests(data: bytes, rounds: int) -> int: ...
def time_replies(data: bytes, rounds: int) -> int: ...
