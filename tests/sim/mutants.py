"""Defects on purpose: each a small change of a rule that the simulator has to notice.

Not a test of its own: tests/unit/test_sim.py runs each one until some seed complains.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dynomite_mp.cluster.failure import Suspicion
from dynomite_mp.cluster.membership import Membership
from dynomite_mp.cluster.membership_exchange import Exchanger
from dynomite_mp.cluster.membership_own import OwnRecord
from dynomite_mp.cluster.membership_packets import Kind
from dynomite_mp.cluster.membership_probe import Prober
from dynomite_mp.cluster.membership_record import Liveness, News
from dynomite_mp.cluster.membership_view import View

MUTANTS: dict[str, "Mutant"] = {}


@dataclass(frozen=True)
class Mutant:
    name: str
    what: str
    scenarios: tuple[str, ...]
    """Where it shows."""
    target: type[Any]
    attribute: str
    make: Callable[[Any], Any]
    """From the right function to the wrong one."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        right = getattr(self.target, self.attribute)
        setattr(self.target, self.attribute, self.make(right))
        try:
            yield
        finally:
            setattr(self.target, self.attribute, right)


def mutant(
    name: str, what: str, scenarios: tuple[str, ...], target: type[Any], attribute: str
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Lists a mutant; the decorated function makes the wrong attribute from the right one."""

    def add(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        MUTANTS[name] = Mutant(name, what, scenarios, target, attribute, make)
        return make

    return add


@mutant("no_refute", "an accused node says nothing", ("storm", "sleep"), OwnRecord, "hear")
def _(right: Any) -> Any:
    return lambda self, news, health: None


@mutant("no_reconnect", "nobody looks for those who are down", ("storm",), Exchanger, "_reconnect")
def _(right: Any) -> Any:
    return lambda self, now_ms: None


@mutant("boot_ignored", "a restarted node is measured by its old incarnation", ("storm", "leave"), News, "rank")
def _(right: Any) -> Any:
    return property(lambda self: (0, self.incarnation, self.liveness))


@mutant("impatient", "a suspect has no time to protest", ("calm",), Suspicion, "__init__")
def _(right: Any) -> Any:
    def init(self: Suspicion, timings: Any, now_ms: int, members: int, by: int) -> None:
        right(self, timings, now_ms, members, by)
        self.deadline_ms = now_ms

    return init


@mutant("gullible_relay", "a relay answers for the target without asking it", ("kill",), Prober, "on_relay")
def _(right: Any) -> Any:
    def on_relay(self: Any, origin: Any, seq: int, target: int, address: Any, now_ms: int) -> None:
        self._post.send(origin, Kind.ACK, (seq, target))

    return on_relay


@mutant("place_by_force", "a new node takes the tokens of a living one", ("intruder",), OwnRecord, "hear_rival")
def _(right: Any) -> Any:
    def hear_rival(self: OwnRecord, news: News, profile: Any) -> bool:
        return right(self, replace(news, liveness=Liveness.DOWN), profile)

    return hear_rival


@mutant("claim_not_raised", "a replacement claims no more than its predecessor", ("storm",), OwnRecord, "_take_place")
def _(right: Any) -> Any:
    return lambda self, holder, claim: right(self, holder, -1)


@mutant(
    "blames_others", "after a stop of its own a node holds others to their deadlines", ("sleep",), Suspicion, "shift"
)
def _(right: Any) -> Any:
    return lambda self, late_ms: None


@mutant("stale_version", "a change does not raise the version of the topology", ("storm", "kill"), View, "_overwrite")
def _(right: Any) -> Any:
    def overwrite(self: View, *arguments: Any) -> None:
        version = self.version
        right(self, *arguments)
        self.version = version

    return overwrite


@mutant("blind_exchange", "whole views are compared by id only", ("storm",), View, "compare")
def _(right: Any) -> Any:
    def compare(self: View, low: int, high: int, entries: Any) -> Any:
        mine = {entry[0]: entry for entry in self.entries()}
        return right(self, low, high, [mine.get(entry[0], entry) for entry in entries])

    return compare


@mutant("silent_leave", "a node goes without a word", ("leave",), Membership, "leave")
def _(right: Any) -> Any:
    def leave(self: Membership, now_ms: int, *, for_good: bool) -> Any:
        outputs = right(self, now_ms, for_good=for_good)
        outputs.packets.clear()
        return outputs

    return leave


@mutant("two_at_a_place", "a replaced node stays in the view", ("storm",), View, "_win_place")
def _(right: Any) -> Any:
    return lambda self, place, claim, node_id: True


@mutant(
    "sure_of_itself", "a node that nobody answered claims as much as one that asked", ("intruder",), OwnRecord, "join"
)
def _(right: Any) -> Any:
    return lambda self, *, asked: right(self, asked=True)
