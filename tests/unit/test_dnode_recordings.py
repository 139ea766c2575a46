"""Recorded peer connections of C nodes are read whole, and written again byte by byte."""

import pytest

from dynomite_mp.proto.dnode import DNODE_ENCRYPTED, DNODE_REQ, DNODE_REQ_FORWARD, DNODE_RES, DNODE_VERSION_C
from dynomite_mp.proto.dnode_crypto import PeerCipher
from dynomite_mp.proto.dnode_frames import DnodeFrame, encode_frame, frame_dnode, whole_reply, whole_request
from dynomite_mp.proto.framer import frame_requests
from tests.unit.dnode_recordings import MBUF_SIZE_BYTES, Recording, cluster_key, recordings

EVERY = pytest.mark.parametrize("recording", recordings(), ids=lambda recording: recording.name)


def frames_of(stream: bytes) -> list[DnodeFrame]:
    frames, used, error = frame_dnode(stream)
    assert (used, error) == (len(stream), None)
    return frames


def plain_payloads(recording: Recording) -> tuple[list[bytes], list[bytes]]:
    requests, responses = frames_of(recording.requests), frames_of(recording.responses)
    if not recording.is_encrypted:
        return [frame.payload for frame in requests], [frame.payload for frame in responses]
    cipher = PeerCipher(cluster_key().unwrap(requests[0].data), MBUF_SIZE_BYTES)
    return (
        [cipher.open(frame.payload, whole_request) for frame in requests],
        [cipher.open(frame.payload, whole_reply) for frame in responses],
    )


@EVERY
def test_every_byte_belongs_to_a_frame(recording: Recording) -> None:
    requests, responses = frames_of(recording.requests), frames_of(recording.responses)
    assert len(requests) >= 10
    for frame in (*requests, *responses):
        assert frame.skipped == 0
        assert frame.version == DNODE_VERSION_C
        assert frame.flags == (DNODE_ENCRYPTED if recording.is_encrypted else 0)
        assert frame.same_dc is not recording.name.startswith("cross-dc")
    kind = DNODE_REQ_FORWARD if recording.name.startswith("cross-dc") else DNODE_REQ
    assert {frame.type for frame in requests} == {kind}
    assert {frame.type for frame in responses} == {DNODE_RES}
    assert [frame.id for frame in requests] == [frame.id for frame in responses]


@EVERY
def test_written_again_it_is_the_same_bytes(recording: Recording) -> None:
    for stream in (recording.requests, recording.responses):
        again = b"".join(
            encode_frame(frame.id, frame.type, frame.payload, flags=frame.flags, same_dc=frame.same_dc, data=frame.data)
            for frame in frames_of(stream)
        )
        assert again == stream


@EVERY
def test_payloads_are_the_commands_that_were_given(recording: Recording) -> None:
    requests, responses = plain_payloads(recording)
    given = [[word.replace("<40000 bytes of x>", "x" * 40000) for word in words] for words in recording.commands]
    wanted = {(words[0].upper(), *words[1:]) for words in given}
    for payload in requests:
        (request,), used, error = frame_requests(payload)
        assert (used, error) == (len(payload), None)
        name, *arguments = (argument.decode() for argument in request.args)
        assert (name.upper(), *arguments) in wanted
    assert all(whole_reply(payload) for payload in responses)
    assert b"+OK\r\n" in responses


@pytest.mark.parametrize(
    "recording", [one for one in recordings() if one.is_encrypted], ids=lambda recording: recording.name
)
def test_sealed_again_it_is_the_same_bytes(recording: Recording) -> None:
    # The vector never changes, so a node of this program writes what a C node wrote, 40 kB values in pieces included.
    requests, responses = frames_of(recording.requests), frames_of(recording.responses)
    cipher = PeerCipher(cluster_key().unwrap(requests[0].data), MBUF_SIZE_BYTES)
    plain_requests, plain_responses = plain_payloads(recording)
    assert [cipher.seal(plain) for plain in plain_requests] == [frame.payload for frame in requests]
    assert [cipher.seal(plain) for plain in plain_responses] == [frame.payload for frame in responses]
    assert max(len(frame.payload) for frame in requests) > 2 * MBUF_SIZE_BYTES
    assert [frame.data for frame in requests[1:]] == [b"d"] * (len(requests) - 1)
