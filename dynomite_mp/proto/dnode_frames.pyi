from collections.abc import Sequence
from typing import NamedTuple

class DnodeFrame(NamedTuple):
    id: int
    type: int
    flags: int
    version: int
    same_dc: bool
    data: bytes
    payload: bytes
    """As it came: ciphertext if flags has DNODE_ENCRYPTED."""
    skipped: int

class ExtensionFields(NamedTuple):
    fields: int = 0
    clock: int = 0
    flags: int = 0
    protocol: int = 2
    stamp: int = 0
    origin_node: int = 0
    origin_boot: int = 0
    origin_worker: int = 0
    sequence: int = 0
    conflict_class: int = 0
    epoch: int = 0
    data_set: int = 0
    version: int = 1
    run: int = 0

class DnodeFramer:
    """Takes the bytes of one peer connection in pieces and gives back whole frames; stops for good at an error."""

    @property
    def error(self) -> str | None: ...
    @property
    def consumed(self) -> int: ...
    def feed(self, data: bytes) -> list[DnodeFrame]: ...

def frame_dnode(data: bytes) -> tuple[list[DnodeFrame], int, str | None]: ...
def encode_frame(
    id: int,
    type: int,
    payload: bytes,
    *,
    flags: int = 0,
    version: int = 1,
    same_dc: bool = True,
    data: bytes = b"d",
) -> bytes: ...
def pack_extension(fields: Sequence[int]) -> bytes: ...
def unpack_extension(data: bytes) -> ExtensionFields | None: ...
def whole_request(payload: bytes) -> bool: ...
def whole_reply(payload: bytes) -> bool: ...
def time_headers(data: bytes, rounds: int) -> int: ...
def time_encode(id: int, data: bytes, rounds: int) -> int: ...
def time_extension(fields: Sequence[int], rounds: int, decode: bool) -> int: ...
