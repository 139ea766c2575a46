"""A request's life in an io worker, against a datastore that the test plays."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import hiredis
import pytest
import pytest_asyncio

from tests.unit.io_stage import Stage


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage.open(tmp_path) as opened:
        yield opened


async def test_request_goes_out_as_it_came_and_the_reply_comes_back(stage: Stage) -> None:
    client = await stage.client()
    client.send("set", "k", b"\x00\xff\r\n")
    assert await stage.store.request() == (2, [b"set", b"k", b"\x00\xff\r\n"])
    stage.store.reply(b"+OK\r\n")
    assert await client.reply() == b"OK"


async def test_replies_keep_the_order_of_requests(stage: Stage) -> None:
    """A local answer waits for the datastore's reply to an earlier request."""
    client = await stage.client()
    for words in (("GET", "a"), ("PING",), ("GET", "b"), ("ECHO", "x"), ("NOSUCH", "c")):
        client.send(*words)
    await stage.store.request()
    await stage.store.request()
    stage.store.reply(b"$1\r\n1\r\n")
    stage.store.reply(b"$1\r\n2\r\n")
    assert [await client.reply() for _ in range(4)] == [b"1", b"PONG", b"2", b"x"]
    assert "unknown command 'NOSUCH'" in str(await client.reply())


async def test_a_reply_finds_its_client(stage: Stage) -> None:
    first, second = await stage.client(), await stage.client()
    first.send("GET", "a")
    await stage.store.request()
    second.send("GET", "b")
    await stage.store.request()
    stage.store.reply(b"+first\r\n")
    stage.store.reply(b"+second\r\n")
    assert await second.reply() == b"second"
    assert await first.reply() == b"first"


async def test_requests_gather_while_the_datastore_owes_a_reply(tmp_path: Path) -> None:
    async with Stage.open(tmp_path, gather_bytes=200) as stage:
        clients = [await stage.client() for _ in range(4)]
        clients[0].send("GET", "first")
        assert (await stage.store.request())[1] == [b"GET", b"first"]
        for client in clients[1:3]:
            client.send("GET", "gathered")
        await stage.until(lambda: stage.path.figures()["in_queue:resp2"] == 2)
        assert stage.store.waiting.empty()
        stage.store.reply(b"+1\r\n")
        assert [(await stage.store.request())[1] for _ in range(2)] == [[b"GET", b"gathered"]] * 2
        clients[3].send("SET", "large", "x" * 200)  # enough of it: no company is waited for
        assert (await stage.store.request())[1][:2] == [b"SET", b"large"]
        for number in (2, 3, 4):
            stage.store.reply(b"+%d\r\n" % number)
        assert [await client.reply() for client in clients] == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("tag", [b"{}", "\N{SECTION SIGN}".encode()])
async def test_keys_with_one_hash_tag_share_a_connection(tmp_path: Path, tag: bytes) -> None:
    async with Stage.open(tmp_path, connections=8, hash_tag=tag) as stage:
        client = await stage.client()
        connections = []
        for key in [b"%cuser%c%d" % (*tag, i) for i in range(20)] + [b"user%d" % i for i in range(20)]:
            client.send("GET", key)
            await stage.store.request()
            connections.append(stage.store.owed[-1])
        assert len(set(connections[:20])) == 1
        assert len(set(connections[20:])) > 1


async def test_late_reply_of_a_client_that_has_gone_is_swallowed(stage: Stage) -> None:
    gone, stays = await stage.client(), await stage.client()
    gone.send("GET", "a")
    await stage.store.request()
    gone.reset()
    await stage.until(lambda: stage.path.clients == 1)
    stays.send("GET", "b")
    await stage.store.request()
    stage.store.reply(b"+for the one that went\r\n")
    stage.store.reply(b"+mine\r\n")
    assert await stays.reply() == b"mine"


async def test_half_closed_client_gets_all_its_replies(stage: Stage) -> None:
    client = await stage.client()
    client.send("GET", "a")
    client.send("PING")
    client.writer.write_eof()
    await stage.store.request()
    stage.store.reply(b"+late\r\n")
    assert [await client.reply(), await client.reply()] == [b"late", b"PONG"]
    assert await client.at_eof()


async def test_deadline_answers_the_client_and_the_late_reply_is_not_mismatched(tmp_path: Path) -> None:
    async with Stage.open(tmp_path, timeout_ms=50) as stage:
        client = await stage.client()
        error = await client.call("GET", "slow")
        assert isinstance(error, hiredis.ReplyError)
        assert "Datastore refused connection" in str(error)
        assert stage.cell("client_timedout_requests") == 1
        await stage.store.request()
        stage.store.reply(b"+too late\r\n")
        client.send("GET", "next")
        await stage.store.request()
        stage.store.reply(b"+in time\r\n")
        assert await client.reply() == b"in time"


async def test_silent_datastore_is_asked_by_probes_only(tmp_path: Path) -> None:
    """After a time-out without a byte, further requests fail at once, so its queue cannot grow."""
    async with Stage.open(tmp_path, timeout_ms=50) as stage:
        client = await stage.client()
        await client.call("GET", "stuck")
        await stage.until(lambda: stage.cell("client_timedout_requests") >= 1)
        for _ in range(200):
            assert isinstance(await client.call("GET", "x"), hiredis.ReplyError)
        assert stage.store.waiting.qsize() < 100
        while stage.store.owed:
            stage.store.reply(b"+alive\r\n")
        client.send("GET", "again")
        await stage.until(lambda: stage.store.owed)
        stage.store.reply(b"+served\r\n")
        assert await client.reply() == b"served"


async def test_lost_datastore_fails_what_is_in_flight_and_comes_back(stage: Stage) -> None:
    client = await stage.client()
    client.send("GET", "a")
    await stage.store.request()
    stage.store.drop_connections()
    assert "Datastore refused connection" in str(await client.reply())
    await stage.until(lambda: all(link.is_up for link in stage.links))
    client.send("GET", "b")
    await stage.store.request()
    stage.store.reply(b"+back\r\n")
    assert await client.reply() == b"back"


async def test_hello_changes_the_group_and_waits_for_older_replies(stage: Stage) -> None:
    client = await stage.client()
    client.send("GET", "a")
    client.send("HELLO", 3)
    client.send("GET", "b")
    assert await stage.store.request() == (2, [b"GET", b"a"])
    stage.store.reply(b"$-1\r\n")
    assert await stage.store.request() == (3, [b"GET", b"b"])
    stage.store.reply(b"_\r\n")
    assert await client.reply() is None
    assert (await client.reply())[b"version"] == b"9.9.9"
    assert await client.reply() is None


async def test_push_of_the_datastore_answers_no_request(stage: Stage) -> None:
    client = await stage.client()
    assert (await client.call("HELLO", 3))[b"proto"] == 3
    client.send("GET", "a")
    await stage.store.request()
    stage.store.reply(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n$1\r\n1\r\n")
    assert await client.reply() == b"1"


async def test_attributes_travel_with_their_reply(stage: Stage) -> None:
    client = await stage.client()
    await client.call("HELLO", 3)
    client.send("GET", "a")
    client.send("GET", "b")
    replies = (b"|1\r\n+ttl\r\n:5\r\n$1\r\n1\r\n", b"+b\r\n")
    for reply in replies:
        await stage.store.request()
        stage.store.reply(reply)
    expected = b"".join(replies)
    assert await asyncio.wait_for(client.reader.readexactly(len(expected)), 5) == expected


async def test_write_waits_for_the_other_groups_write_of_its_key(stage: Stage) -> None:
    two, three = await stage.client(), await stage.client()
    await three.call("HELLO", 3)
    two.send("SET", "k", "1")
    assert (await stage.store.request())[0] == 2
    three.send("SET", "k", "2")
    three.send("GET", "other")
    reads = await stage.client()
    reads.send("GET", "k")
    assert await stage.store.request() == (2, [b"GET", b"k"])  # reads and other clients do not wait
    assert stage.store.waiting.empty()
    stage.store.reply(b"+OK\r\n")
    assert await stage.store.request() == (3, [b"SET", b"k", b"2"])
    assert await stage.store.request() == (3, [b"GET", b"other"])


async def test_only_writes_of_one_key_wait_once_both_groups_write(stage: Stage) -> None:
    """The first write that meets the other group's waits for all of them, whatever their keys; later ones do not."""
    two, three, reads = await stage.client(), await stage.client(), await stage.client()
    await three.call("HELLO", 3)

    async def nothing_else_arrived() -> bool:
        reads.send("GET", "last")
        return (await stage.store.request())[1] == [b"GET", b"last"]

    for _ in range(2):
        two.send("SET", "a", "1")
        assert await stage.store.request() == (2, [b"SET", b"a", b"1"])
        three.send("SET", "b", "2")
        assert await nothing_else_arrived()
        stage.store.reply(b"+OK\r\n")
        assert await stage.store.request() == (3, [b"SET", b"b", b"2"])
        stage.store.reply(b"+last\r\n")
        two.send("SET", "c", "3")
        assert await stage.store.request() == (2, [b"SET", b"c", b"3"])
        two.send("SET", "b", "4")
        assert await nothing_else_arrived()
        stage.store.reply(b"+OK\r\n")
        assert await stage.store.request() == (2, [b"SET", b"b", b"4"])
        for _ in range(3):
            stage.store.reply(b"+OK\r\n")
        assert [await two.reply() for _ in range(3)] == [b"OK"] * 3
        for _ in range(2):
            stage.path.relieve_pressure()  # only one group writes by now: it is forgotten who did


async def test_soft_budget_pauses_reading_until_half_is_answered(tmp_path: Path) -> None:
    async with Stage.open(tmp_path, client_soft_bytes=20_000) as stage:
        client = await stage.client()
        value = b"v" * 1000
        for i in range(200):
            client.send("SET", f"k{i}", value)
        await stage.until(lambda: stage.cell("client_pauses") == 1)
        reached = stage.store.waiting.qsize()
        assert reached < 40
        answered = 0
        while answered < 200:
            await stage.store.request()
            stage.store.reply(b":%d\r\n" % answered)
            answered += 1
        assert [await client.reply() for _ in range(200)] == list(range(200))


async def test_hard_limit_closes_a_client_that_never_reads(tmp_path: Path) -> None:
    async with Stage.open(tmp_path, client_hard_bytes=100_000) as stage:
        client, other = await stage.client(), await stage.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        big = b"$60000\r\n" + b"x" * 60000 + b"\r\n"
        for i in range(200):
            client.send("GET", f"k{i}")
        for _ in range(200):
            await stage.store.request()
            stage.store.reply(big)
            if stage.cell("client_hard_limit_closes"):
                break
        assert stage.cell("client_hard_limit_closes") == 1
        assert await other.call("PING") == b"PONG"


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n$9223372036854775808\r\n", "invalid bulk length"),
        (b"*2\r\n$4\r\nPING\r\n!3\r\n", "expected '$', got '!'"),
        (b"*2\r\n$4\r\nPING\r\n\r\n", "expected '$', got ' '"),
        (b"x" * 70000, "too big inline request"),
        (b'SET k "unbalanced\r\n', "unbalanced quotes"),
    ],
)
async def test_protocol_error_is_answered_behind_earlier_replies(stage: Stage, bad: bytes, text: str) -> None:
    client, other = await stage.client(), await stage.client()
    client.send("PING")
    client.writer.write(bad + b"garbage" * 1000)
    assert await client.reply() == b"PONG"
    assert text in str(await client.reply())
    assert await client.at_eof()
    assert await other.call("PING") == b"PONG"


async def test_error_that_can_go_on_keeps_the_connection(stage: Stage) -> None:
    client = await stage.client()
    for words, text in (
        (("GET",), "wrong number of arguments for 'get'"),
        (("SUBSCRIBE", "c"), "publish and subscribe"),
        (("BLPOP", "l", "0"), "blocking"),
        (("MULTI",), "transactions"),
        (("CONFIG", "NOPE"), "subcommand"),
        (("SELECT", "1"), "one database"),
        (("EVAL", "return 1", "-1"), "Number of keys can't be negative"),
        (("XREAD", "BLOCK", "0", "STREAMS", "s", "$"), "blocking"),
        (("NOSUCH",), "unknown command"),
    ):
        reply = await client.call(*words)
        assert isinstance(reply, hiredis.ReplyError), words
        assert text in str(reply)
    assert await client.call("PING") == b"PONG"


async def test_inline_commands(stage: Stage) -> None:
    client = await stage.client()
    client.writer.write(b'\r\nPING\r\nset  "a b"  \'c\'\r\n')
    assert await stage.store.request() == (2, [b"set", b"a b", b"c"])
    stage.store.reply(b"+OK\r\n")
    assert [await client.reply(), await client.reply()] == [b"PONG", b"OK"]


async def test_quit_answers_and_closes(stage: Stage) -> None:
    client = await stage.client()
    client.send("GET", "a")
    client.send("QUIT")
    client.send("GET", "b")
    await stage.store.request()
    stage.store.reply(b"+a\r\n")
    assert [await client.reply(), await client.reply()] == [b"a", b"OK"]
    assert await client.at_eof()
    assert stage.store.waiting.empty()


async def test_loading_datastore_counts_as_unreachable_until_it_answers(tmp_path: Path) -> None:
    async with Stage.open(tmp_path) as stage:
        stage.store.ping_reply = b"-LOADING Redis is loading the dataset in memory\r\n"
        stage.store.drop_connections()
        await stage.until(lambda: not any(link.is_up for link in stage.links))
        client = await stage.client()
        assert "Datastore refused connection" in str(await client.call("GET", "a"))
        stage.store.ping_reply = b"+PONG\r\n"
        await stage.until(lambda: all(link.is_up for link in stage.links))


async def test_datastore_without_resp3(tmp_path: Path) -> None:
    async with Stage.open(tmp_path) as stage:
        stage.store.hello_reply = b"-ERR unknown command 'HELLO'\r\n"
        stage.store.drop_connections()
        await stage.until(lambda: stage.links[0].is_up and stage.links[1].is_unsupported)


async def test_garbage_from_the_datastore_costs_the_connection_not_the_node(stage: Stage) -> None:
    client = await stage.client()
    client.send("GET", "a")
    await stage.store.request()
    stage.store.reply(b"HTTP/1.1 200 OK\r\n\r\n")
    assert "Datastore refused connection" in str(await client.reply())
    assert await client.call("PING") == b"PONG"


async def test_many_requests_in_one_packet_are_all_served(stage: Stage) -> None:
    """More than a turn's worth; no further packet comes to wake the loop."""
    client = await stage.client()
    client.writer.write(b"*1\r\n$4\r\nPING\r\n" * 5000)
    assert [await client.reply() for _ in range(5000)] == [b"PONG"] * 5000


async def test_drain_answers_what_was_read(stage: Stage) -> None:
    client, idle = await stage.client(), await stage.client()
    client.send("GET", "a")
    await stage.store.request()
    stage.path.begin_drain()
    assert await idle.at_eof()
    stage.store.reply(b"+last\r\n")
    assert await client.reply() == b"last"
    assert await client.at_eof()
    assert stage.path.clients == 0


async def test_counters_follow_the_requests(stage: Stage) -> None:
    client = await stage.client()
    client.send("GET", "a")
    client.send("SET", "a", "1")
    for _ in range(2):
        await stage.store.request()
    stage.store.reply(b"-WRONGTYPE x\r\n")
    stage.store.reply(b"+OK\r\n")
    await client.reply()
    await client.reply()
    await client.call("PING")
    cells = ("client_read_requests", "client_write_requests", "client_local_requests", "client_error_responses")
    assert [stage.cell(name) for name in cells] == [1, 1, 1, 1]
    assert stage.cell("read_requests:resp2") == stage.cell("write_requests:resp2") == 1
    assert stage.cell("server_error_responses:resp2") == 1
    client.close()
    await stage.until(lambda: stage.cell("client_connections") == 0)
    await asyncio.sleep(0)


async def test_a_drain_answers_what_has_come_already(stage: Stage) -> None:
    client = await stage.client()
    assert await client.call("PING") == b"PONG"
    client.send("GET", "k")
    stage.path.begin_drain()  # before a turn has read it
    await stage.store.request()
    stage.store.reply(b"$1\r\nv\r\n")
    assert await client.reply() == b"v"
    assert await client.at_eof()


async def test_a_client_is_let_go_of_behind_its_next_answer(stage: Stage) -> None:
    client = await stage.client()
    assert await client.call("PING") == b"PONG"
    stage.path.part()
    client.send("GET", "k")
    await stage.store.request()
    stage.store.reply(b"$1\r\nv\r\n")
    assert await client.reply() == b"v"
    assert await client.at_eof()
