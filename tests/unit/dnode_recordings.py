"""What two C nodes said to each other, recorded: the peer connections of tests/testdata/dnode-captures.json."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from dynomite_mp.proto.dnode_crypto import ClusterKey

TESTDATA = Path(__file__).parent.parent / "testdata"
MBUF_SIZE_BYTES = 16384


class Recording(NamedTuple):
    name: str
    is_encrypted: bool
    commands: list[list[str]]
    requests: bytes
    responses: bytes


@cache
def recordings() -> list[Recording]:
    found = []
    for entry in json.loads((TESTDATA / "dnode-captures.json").read_text()):
        sides = {
            side: b"".join(bytes.fromhex(text) for way, text in entry["stream"] if way == side)
            for side in ("request", "response")
        }
        commands = [command for command, _ in entry["commands"]]
        is_encrypted = entry["secure_server_option"] != "none"
        found.append(Recording(entry["name"], is_encrypted, commands, sides["request"], sides["response"]))
    return found


@cache
def cluster_key() -> ClusterKey:
    values = json.loads((TESTDATA / "dnode-test-rsa1024.json").read_text())
    n, e, d, p, q = (int(str(values[name]), 0) for name in "nedpq")
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, n)
    )
    return ClusterKey(numbers.private_key())
