"""Two writes of one key from another datacenter, the first of them with a second key: they arrive in their order.

    dc2 (client) --MSET a 1 b 1--> owner of a in dc1, stopped for a while --> owner of b in dc1
                 --SET b 2-------> owner of b in dc1
"""

import signal

from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import running_cluster
from tests.e2e.harness import Resp, wait_for


def test_writes_of_several_keys_do_not_fall_behind() -> None:
    with running_cluster({"dc1": {"r": "oo"}, "dc2": {"z": "o"}}, peer_silence_ms=20000) as cluster:
        first, second, there = cluster.nodes
        a, b = cluster.key_of(first, "a"), cluster.key_of(second, "b")
        processes = first.processes()
        with Resp(there.host) as client, second.store() as at_second, first.store() as at_first:
            signal_all(processes, signal.SIGSTOP)
            assert client.call(b"MSET", a, b"1", b, b"1") == b"OK"
            assert client.call(b"SET", b, b"2") == b"OK"
            wait_for(lambda: at_second.call(b"GET", b) == b"2", what="the later write")
            signal_all(processes, signal.SIGCONT)
            wait_for(lambda: at_first.call(b"GET", a) == b"1", what="the earlier write")
            assert client.call(b"SET", b"end:" + b, b"1") == b"OK"
            cluster.wait_quiet()
            assert at_second.call(b"GET", b) == b"2"
