"""The REST verbs: one table of routes, and what each of them does. No HTTP here: a handler gets the words of the path
and returns an `Answer`.

The table is the only place that names a path: dispatch (`admin_http`), `/help` and the documentation derive from it.
Paths and bodies are those of the C server where it has them; the status codes are real (ADR 0010).

A verb that changes something takes effect in one way only:

    admin --COMMAND set--> supervisor --CONTROL set--> every worker, the admin process among them

and is answered OK when that CONTROL has come back.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from dynomite_mp.enums import Consistency, NodeState
from dynomite_mp.ipc.bulletin import RepairRow
from dynomite_mp.log import LEVEL_MAX, LEVEL_MIN
from dynomite_mp.workers import health
from dynomite_mp.workers.cluster_document import ClusterDocument
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.live_settings import LiveSettings
from dynomite_mp.workers.node_figures import NodeFigures

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json; charset=utf-8"
OK_BODY: Final = "OK\r\n"
TIMEOUT_FACTOR_MIN: Final = 1
TIMEOUT_FACTOR_MAX: Final = 10
STATE_POLLS: Final = 100
STATE_POLL_S: Final = 0.01
REPAIR_POLLS: Final = 300  # its process says once a second what it does
ALL_PEERS: Final = "all"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> "Answer":
        return cls(status, text.encode(), headers=headers or {})

    @classmethod
    def json(cls, document: Mapping[str, Any] | Sequence[Any], status: int = 200) -> "Answer":
        return cls(status, json.dumps(document, separators=(",", ":")).encode() + b"\n", JSON)


OK: Final = Answer.text(OK_BODY)


class CommandRefused(Exception):
    """A command did not take effect: an HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class NodeSource(Protocol):
    """Where the figures come from: the slab, the process table, and the clock they are compared with."""

    view: ClusterView

    def figures(self) -> NodeFigures: ...

    def info(self) -> dict[str, Any]: ...

    def metrics(self) -> tuple[bytes, str]: ...

    def forget_histograms(self) -> None: ...

    def now_ns(self) -> int: ...


class CommandLink(Protocol):
    """The way to the supervisor. Returns when the setting is in force; raises `CommandRefused` when it will not be."""

    async def set(self, key: str, value: str | int) -> None: ...


Words = Mapping[str, str]


class RestService:
    """What the routes do. One instance serves all requests."""

    def __init__(self, source: NodeSource, settings: LiveSettings, link: CommandLink) -> None:
        self._source = source
        self._settings = settings
        self._link = link

    # -- reading

    async def info(self, words: Words) -> Answer:
        return Answer.json(self._source.info())

    async def metrics(self, words: Words) -> Answer:
        body, content_type = self._source.metrics()
        return Answer(200, body, content_type)

    async def ping(self, words: Words) -> Answer:
        return OK

    async def help(self, words: Words) -> Answer:
        return Answer.text(help_text())

    async def health_live(self, words: Words) -> Answer:
        verdict = health.live(self._source.figures(), self._source.now_ns())
        return Answer.json({"live": verdict.good, "reasons": list(verdict.reasons)}, 200 if verdict.good else 503)

    async def health_ready(self, words: Words) -> Answer:
        verdict = health.ready(self._source.figures(), self._source.now_ns())
        return Answer.json({"ready": verdict.good, "reasons": list(verdict.reasons)}, 200 if verdict.good else 503)

    def _cluster(self) -> ClusterDocument:
        node = self._source.figures()
        return ClusterDocument(self._source.view, node.identity, health.node_state(node), node.cluster)

    async def cluster_describe(self, words: Words) -> Answer:
        return Answer.json(self._cluster().nested())

    async def cluster_describe_flat(self, words: Words) -> Answer:
        return Answer.json(self._cluster().flat())

    async def get_seeds(self, words: Words) -> Answer:
        return Answer.text(self._cluster().seeds())

    async def get_state(self, words: Words) -> Answer:
        return Answer.text(f"State: {health.node_state(self._source.figures()).name}\n")

    async def get_consistency(self, words: Words) -> Answer:
        read, write = self._settings.read_consistency, self._settings.write_consistency
        return Answer.text(f"Read Consistency: {read.name}\r\nWrite Consistency: {write.name}\r\n")

    async def get_timeout_factor(self, words: Words) -> Answer:
        return Answer.text(f"Timeout factor: {self._settings.timeout_factor}\n")

    # -- changing

    async def _set(self, key: str, value: str | int, done: Answer = OK) -> Answer:
        """Puts a setting in force, unless it is already."""
        if self._settings.holds(key, value):
            return done
        try:
            await self._link.set(key, value)
        except CommandRefused as refused:
            return Answer.text(refused.sentence + "\n", refused.status)
        return done

    async def set_consistency(self, words: Words) -> Answer:
        operation, level = words["operation"].lower(), words["level"].upper()
        if operation not in ("read", "write"):
            return Answer.text("a consistency is set for 'read' or 'write'\n", 400)
        if level not in Consistency.__members__:
            known = ", ".join(name.lower() for name in Consistency.__members__)
            return Answer.text(f"unknown consistency level; known are {known}\n", 400)
        return await self._set(f"{operation}_consistency", level.lower())

    async def set_timeout_factor(self, words: Words) -> Answer:
        factor = _whole_number(words["factor"])
        if factor is None:
            return Answer.text("the time-out factor is a whole number from 1 to 10\n", 400)
        return await self._set("timeout_factor", min(max(factor, TIMEOUT_FACTOR_MIN), TIMEOUT_FACTOR_MAX))

    async def set_log_level(self, words: Words) -> Answer:
        level = _whole_number(words["level"])
        if level is None or not LEVEL_MIN <= level <= LEVEL_MAX:
            return Answer.text(f"the log level is a whole number from {LEVEL_MIN} to {LEVEL_MAX}\n", 400)
        return await self._set("log_level", level)

    async def log_level_up(self, words: Words) -> Answer:
        return await self._set("log_level", min(self._settings.log_level + 1, LEVEL_MAX))

    async def log_level_down(self, words: Words) -> Answer:
        return await self._set("log_level", max(self._settings.log_level - 1, LEVEL_MIN))

    async def reset_histograms(self, words: Words) -> Answer:
        self._source.forget_histograms()
        return OK

    async def read_repairs(self, words: Words) -> Answer:
        verb = words["verb"]
        if verb not in ("enable", "disable"):
            return Answer.text("read repairs are set to 'enable' or 'disable'\n", 400)
        done = Answer.text(f"Read Repairs: {verb.upper()}D\r\n")
        return await self._set("read_repairs_enabled", int(verb == "enable"), done)

    async def repair(self, words: Words) -> Answer:
        """The comparison under way, or the last one; an empty object before there was any."""
        row = self._repair()
        return Answer.json(asdict(row) if row is not None else {})

    def _repair(self) -> RepairRow | None:
        return next(iter(self._source.figures().cluster.repairs), None)

    async def set_repair(self, words: Words) -> Answer:
        """`start` is answered when the comparison shows in `/repair`, with the name of the run."""
        verb = words["verb"]
        if verb not in ("start", "stop"):
            return Answer.text("a comparison is told to 'start' or 'stop'\n", 400)
        if verb == "stop":
            return await self._set("repair", "stop")
        row = self._repair()
        if row is not None and row.state == "running":
            return Answer.text("a comparison is under way; see /repair\n", 409)
        run = f"{self._source.now_ns():x}"
        answer = await self._set("repair", run)
        for _ in range(REPAIR_POLLS if answer is OK else 0):
            row = self._repair()
            if row is not None and row.run == run:
                return Answer.json({"run": run})
            await asyncio.sleep(STATE_POLL_S)
        return answer if answer is not OK else Answer.text("the replication process does not answer\n", 503)

    async def set_state(self, words: Words) -> Answer:
        wanted = words["state"].upper()
        if wanted not in ("STANDBY", "WRITES_ONLY", "RESUMING", "NORMAL"):
            return Answer.text("a node's state is set to 'standby', 'writes_only', 'resuming' or 'normal'\n", 400)
        answer = await self._set("node_state", wanted.lower())
        for _ in range(STATE_POLLS if answer is OK else 0):
            if health.node_state(self._source.figures()) is NodeState[wanted]:
                break  # what get_state says comes from gossip, which hears of it at its own time
            await asyncio.sleep(STATE_POLL_S)
        return answer

    async def set_peer(self, words: Words) -> Answer:
        """A peer is named as in C by the host of its address, or by host:port where a host has several; or `all`."""
        verb, name = words["verb"], words["name"]
        if verb not in ("up", "down", "reset"):
            return Answer.text("a peer is set 'up', 'down' or 'reset'\n", 400)
        others = [node for node in self._source.view.topology.nodes() if not node.is_local]
        named = [node for node in others if name in (ALL_PEERS, node.name, node.address)]
        if not named and name != ALL_PEERS:
            known = ", ".join(node.name for node in others) or "none; this node is alone"
            return Answer.text(f"no peer is called {name}; known are {known}\n", 404)
        answer = OK
        for node in named:
            # A reset ends an earlier `down`; `up` and `down` are told to restarted processes again, a reset is not.
            answer = await self._set(f"peer/{node.address}", "down" if verb == "down" else "up")
            if verb == "reset" and answer is OK:
                answer = await self._set("peer_reset", node.address)
            if answer is not OK:
                break
        return answer


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


Handler = Callable[[RestService, Words], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table. `{word}` in the path is handed to the handler; `choices` is what help says for it."""

    path: str
    handler: Handler
    mutating: bool
    help: str
    choices: Mapping[str, str] | None = None
    methods: tuple[str, ...] = ("GET", "POST")

    @property
    def shown(self) -> str:
        path = self.path
        for word, choice in (self.choices or {}).items():
            path = path.replace("{" + word + "}", f"<{choice}>")
        return path


LEVELS: Final = "|".join(name.lower() for name in Consistency.__members__)
READ_ONLY: Final = False
MUTATING: Final = True
GET: Final = ("GET",)

ROUTES: Final[tuple[Route, ...]] = (
    Route("/", RestService.info, READ_ONLY, "the same as /info", methods=GET),
    Route("/info", RestService.info, READ_ONLY, "statistics of this node, as JSON"),
    Route("/help", RestService.help, READ_ONLY, "this list"),
    Route("/ping", RestService.ping, READ_ONLY, "OK while the admin process answers"),
    Route("/metrics", RestService.metrics, READ_ONLY, "figures for Prometheus", methods=GET),
    Route("/health/live", RestService.health_live, READ_ONLY, "200 while the supervisor lives, or 503", methods=GET),
    Route("/health/ready", RestService.health_ready, READ_ONLY, "200 while clients are served, or 503", methods=GET),
    Route("/cluster_describe", RestService.cluster_describe, READ_ONLY, "datacenters, racks and nodes, as JSON"),
    Route(
        "/REST/v1/admin/cluster_describe",
        RestService.cluster_describe_flat,
        READ_ONLY,
        "the same as dynomite-manager has it, for Dyno",
    ),
    Route("/REST/v1/admin/get_seeds", RestService.get_seeds, READ_ONLY, "all nodes as seeds, as dynomite-manager"),
    Route("/get_consistency", RestService.get_consistency, READ_ONLY, "levels of reads and writes"),
    Route(
        "/set_consistency/{operation}/{level}",
        RestService.set_consistency,
        MUTATING,
        "level of new connections",
        {"operation": "read|write", "level": LEVELS},
    ),
    Route("/get_timeout_factor", RestService.get_timeout_factor, READ_ONLY, "what request time-outs are multiplied by"),
    Route(
        "/set_timeout_factor/{factor}",
        RestService.set_timeout_factor,
        MUTATING,
        "multiplies the time-outs of requests",
        {"factor": f"{TIMEOUT_FACTOR_MIN}-{TIMEOUT_FACTOR_MAX}"},
    ),
    Route("/state/get_state", RestService.get_state, READ_ONLY, "state of this node"),
    Route(
        "/state/{state}",
        RestService.set_state,
        MUTATING,
        "puts this node into a state",
        {"state": "standby|writes_only|resuming|normal"},
    ),
    Route(
        "/peer/{verb}/{name}",
        RestService.set_peer,
        MUTATING,
        "takes a peer, or all, out of service or back; reset connects anew",
        {"verb": "up|down|reset", "name": "host|host:port|all"},
    ),
    Route(
        "/read_repairs/{verb}",
        RestService.read_repairs,
        MUTATING,
        "turns read repairs on or off",
        {"verb": "enable|disable"},
    ),
    Route("/repair", RestService.repair, READ_ONLY, "the comparison of replicas under way, or the last one, as JSON"),
    Route(
        "/repair/{verb}",
        RestService.set_repair,
        MUTATING,
        "compares this node's keys with all other replicas and mends what differs",
        {"verb": "start|stop"},
    ),
    Route(
        "/setloglevel/{level}",
        RestService.set_log_level,
        MUTATING,
        "how much is logged, as the C server counts",
        {"level": f"{LEVEL_MIN}-{LEVEL_MAX}"},
    ),
    Route("/loglevelup", RestService.log_level_up, MUTATING, "log one level more"),
    Route("/logleveldown", RestService.log_level_down, MUTATING, "log one level less"),
    Route("/historeset", RestService.reset_histograms, MUTATING, "forget the latencies that /info has seen so far"),
)


def help_text() -> str:
    """One path a line, as the C server has it, with what it does beside it."""
    width = max(len(route.shown) for route in ROUTES if len(route.shown) < 50)
    return "".join(f"{route.shown:<{width}}  {route.help}\n" for route in ROUTES)


def describe() -> str:
    """The table as text, for the docs."""
    rows = (f"{'|'.join(route.methods)} {route.shown}: {route.help}" for route in ROUTES)
    guarded = (" (loopback or admin_token)" if route.mutating else "" for route in ROUTES)
    return "\n".join(row + guard for row, guard in zip(rows, guarded, strict=True))
