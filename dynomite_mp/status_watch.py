"""`status --watch`: the same text again and again. With rich on a terminal it is redrawn in place, else it is printed
anew after a clear-screen, or after an empty line when standard output is not a terminal.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence

import click

from dynomite_mp.status import NodeStatus
from dynomite_mp.status_text import node_text

EMPTY_PAUSE_S = 1.0


def watch(look: Callable[[], Sequence[NodeStatus]], *, all_rings: bool) -> None:
    """Until Ctrl-C, or until nobody reads any more. `look` takes as long as the time between two pictures."""
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        draw = live_drawing() if sys.stdout.isatty() else print_below
        while True:
            nodes = look()
            draw("\n\n".join(node_text(node, all_rings=all_rings) for node in nodes) or "no node is running")
            if all(node.is_stale for node in nodes):
                time.sleep(EMPTY_PAUSE_S)  # looking at nothing takes no time


def live_drawing() -> Callable[[str], None]:
    try:
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        return print_over
    live = Live(auto_refresh=False, screen=False, vertical_overflow="crop")
    live.start()

    def draw(text: str) -> None:
        live.update(Text(text), refresh=True)

    return draw


def print_over(text: str) -> None:
    click.clear()
    click.echo(text)


def print_below(text: str) -> None:
    click.echo(text + "\n")
    sys.stdout.flush()
