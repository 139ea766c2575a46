"""Seed lists of every kind, as text and bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster import seeds, seeds_dns
from dynomite_mp.cluster.seeds import SeedError, SeedList
from dynomite_mp.config_values import Address, Seed

TEXT = "10.0.0.1:8101:rack1:dc1:0|node-2.example.com:8101:rack2:dc1:1383429731"
SEEDS = (
    Seed(Address("10.0.0.1", 8101), "rack1", "dc1", (0,), "10.0.0.1"),
    Seed(Address("node-2.example.com", 8101), "rack2", "dc1", (1383429731,), "node-2.example.com"),
)


# ---- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace("|", "\n"),
        TEXT + "|",
        "# seeds\n- " + TEXT.replace("|", "\r\n- ") + "  # end\n\n",
        f" {TEXT} ",
    ],
)
def test_every_way_to_write_a_list(text):
    assert seeds.parse_seeds(text) == SeedList(SEEDS)


def test_several_tokens_and_ipv6():
    [seed] = seeds.parse_seeds("[fd00::1]:8101:r:dc:5,6").seeds
    assert (seed.address, seed.tokens) == (Address("fd00::1", 8101), (5, 6))


def test_a_bad_entry_is_named_and_the_rest_is_kept():
    found = seeds.parse_seeds("nonsense|" + TEXT + "|h:99999:r:dc:1|h:1:r:dc:x")
    assert found.seeds == SEEDS
    assert len(found.problems) == 3
    assert found.problems[0].startswith("'nonsense' ")


def test_an_address_counts_once():
    assert len(seeds.parse_seeds(TEXT + "|" + TEXT).seeds) == 2


def test_a_list_without_end_is_refused():
    with pytest.raises(SeedError, match="more than"):
        seeds.parse_seeds("\n".join(f"h{i}:1:r:d:{i}" for i in range(5000)))


def test_lists_add_up():
    changed = Seed(Address("10.0.0.1", 8101), "rack9", "dc1", (0,), "x")
    total = SeedList(SEEDS, (("a", 1),)) + SeedList((changed,), (("a", 1), ("b", 2)), ("p",))
    assert total == SeedList((changed, SEEDS[1]), (("a", 1), ("b", 2)), ("p",))


@given(st.text(max_size=200))
def test_any_text_is_a_list(text):
    seeds.parse_seeds(text)


# ---- HTTP ------------------------------------------------------------------------------------------------------------


def test_the_request_is_c_s_unless_the_environment_says_otherwise():
    target = seeds.florida_target({})
    assert target.address == ("127.0.0.1", 8080)
    assert target.request.startswith(b"GET /REST/v1/admin/get_seeds HTTP/1.0\r\n")
    request = "GET /x HTTP/1.0\r\n"
    environ = {"DYNOMITE_FLORIDA_IP": "10.0.0.9", "DYNOMITE_FLORIDA_PORT": "81", "DYNOMITE_FLORIDA_REQUEST": request}
    target = seeds.florida_target(environ)
    assert (target.address, target.request) == (("10.0.0.9", 81), b"GET /x HTTP/1.0\r\n\r\n")
    with pytest.raises(SeedError, match="DYNOMITE_FLORIDA_PORT"):
        seeds.florida_target({"DYNOMITE_FLORIDA_PORT": "x"})


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
WHOLE = [
    (HEAD + b"\r\n" + TEXT.encode(), True),
    (HEAD + b"Content-Length: %d\r\n\r\n" % len(TEXT) + TEXT.encode(), False),
    (HEAD + b"content-length:%d\r\n\r\n" % len(TEXT) + TEXT.encode() + b"more", False),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n" + TEXT[:5].encode() + b"\r\n%x\r\n" % (len(TEXT) - 5)
     + TEXT[5:].encode() + b"\r\n0\r\n\r\n", False),
]  # fmt: skip


@pytest.mark.parametrize(("response", "needs_end"), WHOLE)
def test_a_body_is_found_however_it_ends(response, needs_end):
    assert seeds.http_body(response, at_end=needs_end) == TEXT.encode()
    assert seeds.parse_florida(TEXT.encode()).seeds == SEEDS


@pytest.mark.parametrize(("response", "needs_end"), WHOLE)
def test_half_a_response_is_not_one(response, needs_end):
    for end in range(0, len(response) - 12, 7):
        assert seeds.http_body(response[:end], at_end=False) is None
        if not needs_end or end < len(HEAD):
            with pytest.raises(SeedError):
                seeds.http_body(response[:end], at_end=True)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n", b"hello\r\n\r\n", b"HTTP/1.0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
def test_another_answer_is_an_error(response):
    with pytest.raises(SeedError):
        seeds.http_body(response, at_end=False)


# ---- DNS -------------------------------------------------------------------------------------------------------------


def encoded(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"


def answer(kind: int, *records: bytes, number: int = 7, flags: int = 0x8180, name: bytes = b"\xc0\x0c") -> bytes:
    """An answer to a question about x.example, whose name stands at 12 and is pointed to."""
    head = struct.pack(">6H", number, flags, 1, len(records), 0, 0) + encoded("x.example") + struct.pack(">2H", kind, 1)
    return head + b"".join(name + struct.pack(">2HIH", kind, 1, 60, len(data)) + data for data in records)


def test_a_question_asks_for_what_it_should():
    data = seeds_dns.question("_dynomite.ec2-internal", seeds_dns.TXT, 513)
    assert data.startswith(struct.pack(">6H", 513, 0x0100, 1, 0, 0, 1) + encoded("_dynomite.ec2-internal"))
    assert struct.pack(">2H", 16, 1) in data


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["x" * 60] * 5)])
def test_what_is_no_name_is_not_asked_for(name):
    with pytest.raises(SeedError):
        seeds_dns.question(name, 1, 1)


def test_addresses():
    found = seeds_dns.parse_answer(answer(seeds_dns.A, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])), 7, seeds_dns.A)
    assert found.addresses == ["10.0.0.1", "10.0.0.2"]
    found = seeds_dns.parse_answer(answer(seeds_dns.AAAA, b"\xfd" + b"\0" * 14 + b"\1"), 7, seeds_dns.AAAA)
    assert found.addresses == ["fd00::1"]
    assert seeds.seeds_of_addresses(found.addresses, 8101).contacts == (("fd00::1", 8101),)


def test_services_in_order_of_priority():
    records = [
        struct.pack(">3H", p, 0, port) + encoded(host) for p, port, host in ((9, 8101, "b.example"), (1, 8102, "a.x"))
    ]
    found = seeds_dns.parse_answer(answer(seeds_dns.SRV, *records), 7, seeds_dns.SRV)
    assert seeds.seeds_of_services(found.services).contacts == (("a.x", 8102), ("b.example", 8101))
    nobody = seeds_dns.parse_answer(answer(seeds_dns.SRV, struct.pack(">3H", 0, 0, 0) + b"\0"), 7, seeds_dns.SRV)
    assert seeds.seeds_of_services(nobody.services) == SeedList()


def test_texts_longer_than_one_string_and_in_several_records():
    first = (TEXT + "|") * 5
    pieces = [first[i : i + 200].encode() for i in range(0, len(first), 200)]
    records = [b"".join(bytes((len(p),)) + p for p in pieces), b"\x1910.0.0.9:8101:rack9:dc1:9"]
    found = seeds_dns.parse_answer(answer(seeds_dns.TXT, *records), 7, seeds_dns.TXT)
    assert [seed.rack for seed in seeds.seeds_of_texts(found.texts).seeds] == ["rack1", "rack2", "rack9"]


def test_an_alias_is_followed_by_the_server_and_skipped_here():
    data = struct.pack(">6H", 7, 0x8180, 1, 2, 0, 0) + encoded("x.example") + struct.pack(">2H", 1, 1)
    data += b"\xc0\x0c" + struct.pack(">2HIH", 5, 1, 60, 2) + b"\xc0\x0e"
    data += b"\xc0\x0e" + struct.pack(">2HIH", 1, 1, 60, 4) + bytes([10, 0, 0, 1])
    assert seeds_dns.parse_answer(data, 7, seeds_dns.A).addresses == ["10.0.0.1"]


def test_flags_of_an_answer():
    assert seeds_dns.parse_answer(answer(16, flags=0x8380), 7, 16).truncated
    assert seeds_dns.parse_answer(answer(16, flags=0x8183), 7, 16).no_such_name
    for wrong in (answer(16, flags=0x8182), answer(16, number=8), answer(16, flags=0x0100)):
        with pytest.raises(SeedError):
            seeds_dns.parse_answer(wrong, 7, 16)


def test_a_name_that_points_to_itself_ends():
    with pytest.raises(SeedError):
        seeds_dns.parse_answer(answer(33, struct.pack(">3H", 1, 1, 1) + b"\xc0\x0c", name=b"\xc0\x1b"), 7, 33)


@given(st.binary(max_size=120), st.sampled_from([1, 16, 28, 33]))
def test_any_bytes_are_an_answer_or_an_error(tail, kind):
    for data in (tail, answer(kind)[:27] + tail, struct.pack(">6H", 7, 0x8180, 1, 9, 0, 0) + tail, answer(kind, tail)):
        try:
            found = seeds_dns.parse_answer(data, 7, kind)
        except SeedError:
            continue
        seeds.seeds_of_texts(found.texts)
        seeds.seeds_of_services(found.services)


def test_what_the_environment_asks_for():
    assert seeds.dns_target({}) == seeds.DnsTarget("_dynomite.ec2-internal", ("TXT",))
    environ = {"DYNOMITE_DNS_NAME": "x.example.", "DYNOMITE_DNS_TYPE": "a, aaaa,A"}
    assert seeds.dns_target(environ) == seeds.DnsTarget("x.example", ("A", "AAAA"))
    with pytest.raises(SeedError, match="DYNOMITE_DNS_TYPE"):
        seeds.dns_target({"DYNOMITE_DNS_TYPE": "MX"})


def test_resolv_conf():
    text = "# x\nnameserver 10.0.0.53\nnameserver fe80::1%eth0 ; y\nsearch a.example b.example\noptions x:1 ndots:5\n"
    assert seeds_dns.resolv_conf(text) == (["10.0.0.53", "fe80::1"], ["a.example", "b.example"], 5)
    assert seeds_dns.resolv_conf("") == (["127.0.0.1"], [], 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("h", ["h.a", "h.b", "h"]), ("h.x", ["h.x", "h.x.a", "h.x.b"]), ("h.", ["h"])],
)
def test_short_names_are_searched(name, expected):
    assert seeds_dns.full_names(name, ["a", "b."], 1) == expected
