"""The cluster's key as the data path uses it: a cipher for each connection, errors as None.

What it is not: the cryptography; that is proto.dnode_crypto.
"""

import os
from collections.abc import Callable
from pathlib import Path

from dynomite_mp.cluster.topology import Node
from dynomite_mp.config import Config
from dynomite_mp.enums import SecureServerOption
from dynomite_mp.errors import ConfigError, ProtocolError
from dynomite_mp.proto.dnode_crypto import SESSION_KEY_BYTES, ClusterKey, PeerCipher
from dynomite_mp.proto.dnode_frames import whole_reply, whole_request


class LinkCipher:
    """One connection's cipher; `sealed_key` goes into the data field of its first frame."""

    def __init__(self, cipher: PeerCipher, sealed_key: bytes, is_whole: Callable[[bytes], bool]) -> None:
        self._cipher = cipher
        self._is_whole = is_whole
        self.sealed_key = sealed_key

    def encrypt(self, plain: bytes) -> bytes:
        return self._cipher.seal(plain)

    def decrypt(self, sealed: bytes) -> bytes | None:
        """None for what cannot be read."""
        try:
            return self._cipher.open(sealed, self._is_whole)
        except ProtocolError:
            return None


class NodeKey:
    """The key file of the node."""

    def __init__(self, key: ClusterKey, mbuf_size_bytes: int) -> None:
        self._key = key
        self._mbuf_size_bytes = mbuf_size_bytes

    @classmethod
    def load(cls, path: Path, mbuf_size_bytes: int) -> "NodeKey":
        """Raises ConfigError when the file is missing or holds no usable key."""
        try:
            pem = path.read_bytes()
        except OSError as failure:
            raise ConfigError(f"pem_key_file {path}: {failure.strerror}", "name the key file of the cluster") from None
        return cls(ClusterKey.from_pem(pem), mbuf_size_bytes)

    def new_link(self, random_bytes: Callable[[int], bytes] = os.urandom) -> LinkCipher:
        """For a connection of ours: a fresh session key; what comes back are replies."""
        session_key = random_bytes(SESSION_KEY_BYTES)
        cipher = PeerCipher(session_key, self._mbuf_size_bytes)
        return LinkCipher(cipher, self._key.wrap(session_key), whole_reply)

    def open_key(self, data: bytes) -> LinkCipher | None:
        """For a connection to us: the key that its first frame brings; what comes in are requests."""
        try:
            session_key = self._key.unwrap(data)
        except ProtocolError:
            return None
        return LinkCipher(PeerCipher(session_key, self._mbuf_size_bytes), b"", whole_request)


def node_key(config: Config) -> NodeKey | None:
    """The key of this node; None when no link is encrypted."""
    if config.secure_server_option is SecureServerOption.NONE:
        return None
    return NodeKey.load(config.pem_key_file, config.mbuf_size)


def secured_by(option: SecureServerOption) -> Callable[[Node, Node], bool]:
    """Which links a sender encrypts (reference 6.5)."""
    rules: dict[SecureServerOption, Callable[[Node, Node], bool]] = {
        SecureServerOption.NONE: lambda _here, _there: False,
        SecureServerOption.DATACENTER: lambda here, there: here.dc != there.dc,
        SecureServerOption.RACK: lambda here, there: here.dc != there.dc or here.rack != there.rack,
        SecureServerOption.ALL: lambda _here, _there: True,
    }
    return rules[option]
