"""Real nodes on loopback for the end-to-end tests.

    block = AddressBlock.acquire()            127.A.B.0/24, ours alone until released (flock, so also after a crash)
    node = Node(block.take(), directory)      nothing runs yet; node.conf is a dict that may still be changed
    node.start()                              returns when the node serves; raises with its log when it does not
    node.call("SET", "k", "v")                one command on a connection of its own, the reply as hiredis reads it
    node.stop()                               SIGTERM, waits, returns the exit code
    node.destroy()                            whatever is left of it, also orphans of a killed supervisor

Nothing here sleeps for a fixed time: `wait_for(condition)` polls. Ports are the conventional ones, because every node
has an address of its own. The processes of a node are those that hold its lock file, which all of them inherit.
"""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import hiredis
import psutil

from dynomite_mp import status
from dynomite_mp.address_block import LOCKS as BLOCKS
from dynomite_mp.ipc.segment import slab_name, unlink
from dynomite_mp.ipc.slab import SlabError

T = TypeVar("T")

REPO = Path(__file__).resolve().parents[2]
CLIENT_PORT, PEER_PORT, STATS_PORT = 8102, 8101, 22222
POLL_S = 0.02
STOOD_STILL_S = 2.0
ORDERLY_END_S = 15.0
PATIENCE = float(os.environ.get("DYNOMITE_MP_TEST_PATIENCE", "1"))  # more where everything is slow: sanitizers
MINIMAL_NODE = ("-m", "tests.e2e.minimal_node")
PRODUCT = ("-m", "dynomite_mp")


def wait_for(condition: Callable[[], T], timeout_s: float = 10.0, what: str = "", poll_s: float = POLL_S) -> T:
    """The first true value of `condition()`. OSErrors count as not yet. AssertionError after the time-out.

    Time in which this process stood still, as everything does on a machine that is suspended, does not count.
    """
    timeout_s *= PATIENCE
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except OSError as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what or condition.__name__}; last: {last!r}")
        before = time.monotonic()
        time.sleep(poll_s)
        late_s = time.monotonic() - before - poll_s
        deadline += late_s if late_s > STOOD_STILL_S else 0.0


def hear_interrupts() -> None:
    """In a child: a shell lets what it starts in the background ignore SIGINT, and that would be inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class AddressBlock:
    """254 loopback addresses that no other test process uses."""

    def __init__(self, a: int, b: int, lock_fd: int) -> None:
        self.prefix = f"127.{a}.{b}"
        self._lock_fd = lock_fd
        self._taken = 0

    @classmethod
    def acquire(cls) -> Self:
        BLOCKS.mkdir(exist_ok=True)
        with contextlib.suppress(PermissionError):
            BLOCKS.chmod(0o777)
        # From 64 up: low ones are what people use by hand. A random start keeps parallel runs from queueing.
        places = [(a, b) for a in range(64, 128) for b in range(1, 255)]
        start = random.randrange(len(places))
        for a, b in places[start:] + places[:start]:
            fd = os.open(BLOCKS / f"127.{a}.{b}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            return cls(a, b, fd)
        raise RuntimeError(f"all address blocks are taken ({BLOCKS})")

    def take(self) -> str:
        """The next address on which nothing listens at a conventional port (somebody may listen on 0.0.0.0)."""
        while self._taken < 254:
            self._taken += 1
            address = f"{self.prefix}.{self._taken}"
            if all(port_is_free(address, port) for port in (CLIENT_PORT, PEER_PORT, STATS_PORT)):
                return address
        raise RuntimeError(f"no free address left in {self.prefix}.0/24")

    def release(self) -> None:
        os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def port_is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True


class Resp:
    """The smallest blocking client: what was sent and what came back, with no opinion about either.

    Resp("127.1.1.1") or Resp("/path/of/a/socket").
    """

    def __init__(self, host: str | Path, port: int = CLIENT_PORT, timeout_s: float = 5.0) -> None:
        if str(host).startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout_s)
            self.sock.connect(str(host))
        else:
            self.sock = socket.create_connection((str(host), port), timeout=timeout_s)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()

    def call(self, *words: str | bytes | int) -> Any:
        """One command, one reply. An error reply comes back as a hiredis.ReplyError value, it is not raised."""
        self.send(*words)
        return self.reply()

    def send(self, *words: str | bytes | int) -> None:
        self.sock.sendall(hiredis.pack_command(words))

    def send_raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self) -> Any:
        while (value := self.reader.gets()) is False:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self.reader.feed(data)
        return value

    def at_eof(self) -> bool:
        """Whether the server has closed; waits up to the connection's time-out for something to come."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Node:
    """One dynomite-mp with all its processes, in a directory of its own."""

    def __init__(
        self,
        host: str,
        directory: Path,
        *,
        program: Sequence[str] = PRODUCT,
        environ: Mapping[str, str] | None = None,
        **conf: object,
    ) -> None:
        self.host = host
        self.directory = directory
        self.program = program
        # Short, because a unix socket's path may hold 108 bytes and pytest's directories are long.
        self.runtime_dir = Path("/tmp") / f"dmp-{os.getuid()}-{host}"
        self.conf: dict[str, object] = {
            "listen": f"{host}:{CLIENT_PORT}",
            "dyn_listen": f"{host}:{PEER_PORT}",
            "stats_listen": f"{host}:{STATS_PORT}",
            "data_dir": str(directory / "data"),
            "runtime_dir": str(self.runtime_dir),
            **conf,
        }
        self.environ = {"PYTHONPATH": str(REPO), **(environ or {})}
        self.log_path = directory / "node.log"
        self.conf_path = directory / "node.yml"
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"<Node {self.host} pid={self.process.pid if self.process else None}>"

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, *arguments: str, wait: bool = True, timeout_s: float = 20.0) -> Self:
        """`dynomite-mp start --conf`; with `wait` until every process is running and clients are accepted."""
        self.write_conf()
        self.spawn("start", "--conf", str(self.conf_path), *arguments)
        if wait:
            self.wait_ready(timeout_s)
        return self

    def write_conf(self) -> Path:
        self.conf_path.write_text(conf_text(self.conf))
        return self.conf_path

    def spawn(self, *arguments: str) -> "subprocess.Popen[bytes]":
        assert self.process is None or self.process.poll() is not None, f"{self} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, *arguments],
                cwd=REPO,
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        try:
            wait_for(self._is_ready, timeout_s, f"{self} to be ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def _is_ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        if code is not None:
            raise AssertionError(f"{self} ended with exit code {code}")
        return self.states() == {"running"} and self.accepts()

    def states(self) -> set[str]:
        """The states of all its processes; empty before there is a slab of this start."""
        try:
            document = self.status()
        except SlabError:  # none yet, or still being made
            return set()
        return {row["state"] for row in document["processes"]} if document["supervisor_pid"] == self.pid else set()

    def restart(self) -> Self:
        """Stop and start again, with the same files and whatever `conf` says now."""
        self.stop()
        return self.start()

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM and wait."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL to the supervisor alone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Exit code of the supervisor."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} did not end within {timeout_s} s\n{self.tail()}") from None

    def destroy(self) -> None:
        """End whatever is left, the hard way, and remove the runtime directory and the slab."""
        destroy_all([self])

    # -- looking at it -----------------------------------------------------------------------------------------------

    @property
    def lock_path(self) -> Path:
        return Path(str(self.conf["data_dir"])).resolve() / "lock"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def processes(self) -> list[psutil.Process]:
        """Everything this node has started that still runs, also without its supervisor."""
        return holders({str(self.lock_path)})

    def command(self, *arguments: str, timeout_s: float = 20.0) -> "subprocess.CompletedProcess[str]":
        """Run the command line tool, for example node.command("status", "--json")."""
        return subprocess.run(
            [sys.executable, *PRODUCT, *arguments],
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @property
    def slab_name(self) -> str:
        return slab_name(Path(str(self.conf["data_dir"])))

    def has_status(self) -> bool:
        return self.slab_name in status.find_all()

    def status(self) -> dict[str, Any]:
        """What `status --json` prints, read without a process of its own and without waiting for rates."""
        return json.loads(json.dumps(status.as_document(status.collect(self.slab_name, interval_s=0.0)), default=str))

    def row(self, name: str) -> dict[str, Any]:
        """One process of `status`, by name: io[0], gossip, replication, admin, datastore, supervisor."""
        for row in self.status()["processes"]:
            if row["name"] == name:
                return dict(row)
        raise AssertionError(f"{self} has no process {name}")

    def pid_of(self, name: str) -> int:
        return int(self.row(name)["pid"])

    def accepts(self, port: int = CLIENT_PORT) -> bool:
        with socket.create_connection((self.host, port), timeout=2):
            return True

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def logged(self, text: str, timeout_s: float = 10.0) -> None:
        """Wait until the log holds this text."""
        wait_for(lambda: text in self.log(), timeout_s, f"{text!r} in the log of {self}")

    def tail(self, lines: int = 60) -> str:
        return f"--- {self.log_path}\n" + "\n".join(self.log().splitlines()[-lines:])

    # -- talking to it -----------------------------------------------------------------------------------------------

    def connect(self, timeout_s: float = 5.0) -> Resp:
        return Resp(self.host, CLIENT_PORT, timeout_s)

    def call(self, *words: str | bytes | int) -> Any:
        with self.connect() as client:
            return client.call(*words)

    def store(self) -> Resp:
        """A connection to the managed datastore itself, past the node."""
        return Resp(self.runtime_dir / "datastore.sock")


def open_paths(pid: int) -> set[str]:
    """Targets of the open descriptors of a process; none when it is gone."""
    found = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208, a Path each is most of the work
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))  # noqa: PTH115
    return found


def holders(locks: set[str]) -> list[psutil.Process]:
    """Other processes that hold one of these lock files open."""
    found = []
    for pid in psutil.pids():
        if pid != os.getpid() and not locks.isdisjoint(open_paths(pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
    return found


def destroy_all(nodes: Sequence[Node]) -> None:
    """End whatever is left of these nodes, together: their supervisors first, lest they start anything anew."""
    supervisors = [node.process for node in nodes if node.process is not None and node.process.poll() is None]
    if "COVERAGE_PROCESS_START" in os.environ:  # what is killed cannot say which lines it has run
        for supervisor in supervisors:
            supervisor.terminate()
        psutil.wait_procs([psutil.Process(supervisor.pid) for supervisor in supervisors], timeout=ORDERLY_END_S)
    for supervisor in supervisors:
        supervisor.kill()
    for supervisor in supervisors:
        supervisor.wait(10)
    left = holders({str(node.lock_path) for node in nodes})
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    for node in nodes:
        unlink(node.slab_name)
        shutil.rmtree(node.runtime_dir, ignore_errors=True)


class Nodes:
    """Makes nodes and destroys them all; the fixture `nodes` is one."""

    def __init__(self, block: AddressBlock, directory: Path) -> None:
        self._block = block
        self._directory = directory
        self.made: list[Node] = []

    def make(self, *, factory: Callable[..., Node] = Node, **arguments: Any) -> Node:
        """A node that does not run yet; keywords are those of Node, hence configuration keys."""
        host = self._block.take()
        node = factory(host, self._directory / f"node{len(self.made) + 1}", **arguments)
        self.made.append(node)
        return node

    def start(self, **arguments: Any) -> Node:
        return self.make(**arguments).start()

    def cluster(self, layout: Mapping[str, Mapping[str, int]], **conf: Any) -> list[Node]:
        """Nodes of {datacenter: {rack: number of nodes}} that know each other as seeds; none runs yet."""
        made: list[Node] = []
        for datacenter, racks in layout.items():
            for rack, count in racks.items():
                for place in range(count):
                    token = (2**32 // count) * place
                    made.append(self.make(datacenter=datacenter, rack=rack, tokens=str(token), **conf))
        for node in made:
            node.conf["dyn_seeds"] = [seed_line(other) for other in made if other is not node]
        return made

    def destroy(self) -> None:
        for node in self.made:
            if type(node).destroy is not Node.destroy:  # of another kind, with an end of its own
                node.destroy()
        destroy_all([node for node in self.made if type(node).destroy is Node.destroy])

    def tails(self) -> str:
        return "\n".join(node.tail() for node in self.made)


def seed_line(node: Node) -> str:
    conf = node.conf
    return f"{conf['dyn_listen']}:{conf['rack']}:{conf['datacenter']}:{conf['tokens']}"


def conf_text(conf: Mapping[str, object]) -> str:
    """A configuration file in the shape that C Dynomite reads too."""
    return "\n".join(["dyn_o_mite:", *_conf_lines(conf)]) + "\n"


def _conf_lines(conf: Mapping[str, object]) -> Iterator[str]:
    for key, value in conf.items():
        if isinstance(value, list | tuple):
            if value:
                yield f"  {key}:"
                yield from (f"  - {item}" for item in value)
        elif isinstance(value, bool):
            yield f"  {key}: {str(value).lower()}"
        elif value is not None:
            yield f"  {key}: {value}"
