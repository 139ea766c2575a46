"""Going to the background, for those who are not started by a service manager.

    dynomite-mp --daemonize      child        grandchild = the supervisor
    waits for one byte           exits        boots ... serves: writes the exit code of the start
    exits with it                             (ends before: nothing is written, the start has failed)

So unlike C Dynomite the command returns when the node serves, and its exit code says whether it does.
"""

import os
import signal
from collections.abc import Callable

from dynomite_mp.enums import ExitCode


def go_to_background() -> Callable[[int], None]:
    """Returns only in the grandchild, with the function that ends the waiting of the original process."""
    reading, writing = os.pipe()
    if os.fork() > 0:
        os.close(writing)
        answer = os.read(reading, 1)
        os._exit(answer[0] if answer else ExitCode.FAILURE)
    os.close(reading)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the end of the session leader, which follows
    if os.fork() > 0:
        os._exit(ExitCode.OK)

    told = False

    def report(code: int) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(writing, bytes([code]))
            os.close(writing)

    return report


def detach_output(has_log_file: bool) -> None:
    """The terminal is let go when everything that fails early has been tried; a log file keeps standard error."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1) if has_log_file else (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
