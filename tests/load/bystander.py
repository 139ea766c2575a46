"""A well-behaved client in a process of its own: what it feels while others misbehave or move a huge value.

    with Bystander(target) as other:
        ...
    other.percentile_ms(0.99, start, end)      # monotonic times, which all processes of the machine share

It sets and gets a small key in turn, one request every 2 ms, and notes when each was sent, how long it took, and any
reply that is not the right one. `python -m tests.load.bystander HOST PORT` is that process, until its input ends.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from types import TracebackType

PAUSE_S = 0.002
Address = tuple[str, int]


class Bystander:
    """Starts the process, and holds what it saw once it has ended."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.process: subprocess.Popen[str] | None = None
        self.samples: list[tuple[float, float]] = []  # monotonic time, seconds
        self.errors: list[str] = []

    def __enter__(self) -> Bystander:
        command = [sys.executable, "-m", "tests.load.bystander", self.target[0], str(self.target[1])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.process.stdout.readline()  # it is connected
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        seen = json.loads(self.process.communicate("\n", timeout=60)[0])
        self.samples, self.errors = [(at, took) for at, took in seen["samples"]], seen["errors"]

    def percentile_ms(self, share: float, start: float = 0.0, end: float = float("inf")) -> float:
        """Latency that `share` of the requests sent in that window did not exceed."""
        took = sorted(took for at, took in self.samples if start <= at < end)
        return took[min(len(took) - 1, int(share * len(took)))] * 1000 if took else 0.0


def _ask(sock: socket.socket, args: tuple[bytes, ...], wanted: bytes) -> bytes:
    sock.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args))
    got = b""
    while len(got) < len(wanted):
        data = sock.recv(4096)
        if not data:
            raise ConnectionResetError("closed by the other side")
        got += data
        if (got[0] != wanted[0] or got == b"$-1\r\n") and got.endswith(b"\r\n"):
            break
    return got


def main(argv: list[str] | None = None) -> int:
    host, port = argv or sys.argv[1:]
    samples: list[tuple[float, float]] = []
    errors: list[str] = []
    sock = socket.create_connection((host, int(port)), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("connected", flush=True)
    number = 1
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        number += 1
        value = b"%012d" % (number // 2)
        args, wanted = ((b"SET", b"bystander", value), b"+OK\r\n") if number % 2 == 0 else (
            (b"GET", b"bystander"), b"$12\r\n%s\r\n" % value)  # fmt: skip
        started = time.monotonic()
        try:
            got = _ask(sock, args, wanted)
        except OSError as error:
            errors.append(f"{started:.3f}: {error}")
            sock.close()
            time.sleep(0.01)
            try:
                sock = socket.create_connection((host, int(port)), 10)
            except OSError:
                continue
            continue
        samples.append((started, time.monotonic() - started))
        if got != wanted:
            errors.append(f"{started:.3f}: {args!r} was answered with {got[:80]!r}")
    print(json.dumps({"samples": samples, "errors": errors}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
