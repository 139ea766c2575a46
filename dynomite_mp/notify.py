"""The systemd notification protocol: one datagram with `KEY=value` lines to the socket named by NOTIFY_SOCKET.

Without that variable every call does nothing. The variables are taken out of the environment at once, so that neither
the workers nor the datastore can speak in the name of the node.
"""

import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """Speaks to the service manager, if there is one."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._path = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        watchdog_pid = environ.pop("WATCHDOG_PID", "")
        mine = watchdog_pid in ("", str(os.getpid()))
        # Twice as often as asked for, as the manual of sd_watchdog_enabled recommends.
        self.watchdog_interval_ms = int(watchdog_us) // 2000 if mine and watchdog_us.isdecimal() else 0

    def ready(self, status: str) -> None:
        self.say("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def reloading(self, now_us: int) -> None:
        self.say("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self, status: str) -> None:
        self.say("STOPPING=1", f"STATUS={status}")

    def watchdog(self) -> None:
        self.say("WATCHDOG=1")

    def status(self, text: str) -> None:
        self.say(f"STATUS={text}")

    def say(self, *lines: str) -> None:
        """A service manager that does not listen must never stop the node, so errors are dropped."""
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto("\n".join(lines).encode(), address)
        except OSError:
            pass
