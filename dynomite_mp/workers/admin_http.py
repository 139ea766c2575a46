"""The HTTP face of the admin process: from the one route table to the connections of an inherited socket.

What it is not: it knows no route by name and no figure; `rest_routes` holds the table and what each row does. Nor is it
a parser: h11 reads and writes HTTP.

    accept -> HttpServer (at most so many, none old) -> HttpConnection (h11, one request) -> HttpServer.answer:
                 match the table, 404 / 405            [find]
                 mutating: who may                     [refusal_of_mutation]
                 run the row under a deadline          [504 past it, 500 when it raises]
                 one answer, then close

Invariants:
- One connection carries one request and lives at most `CONNECTION_LIFE_S`, whatever it sends or does not read, so that
  a slow or idle client costs one descriptor for that long and nobody else anything. The C server closes after each
  answer too, so no tool can count on more.
- A verb that changes anything runs only for a caller on the same machine or with the admin token. A web page open in a
  browser on that machine is not such a caller: a request that carries the marks of another site, or of a proxy in
  between, needs the token.
- No answer says OK for something that was not done.
"""

import asyncio
import hmac
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import unquote, urlsplit

import h11

from dynomite_mp.workers.rest_routes import ROUTES, Answer, RestService, Route

log = logging.getLogger(__name__)

CONNECTION_LIFE_S: Final = 15.0
REQUEST_DEADLINE_S: Final = 10.0
MAX_CONNECTIONS: Final = 128
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 64 * 1024  # no verb reads one

PROXY_HEADERS: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


# ---------------------------------------------------------------- who may change anything (headers by lower-case name)


def is_local(transport: asyncio.BaseTransport | None) -> bool:
    """Whether the other end is on this machine."""
    if transport is None:
        return False
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return True
    return is_loopback(transport.get_extra_info("peername"))


def is_loopback(peername: object) -> bool:
    """Whether an address of a TCP connection is of this machine; one that is not known is not."""
    if not isinstance(peername, tuple) or not peername:
        return False
    try:
        address = ipaddress.ip_address(str(peername[0]).partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_foreign_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another site made this request.

    Such a page reaches loopback through the operator's own browser. With a name of its own that resolves to loopback
    it even looks same-origin, so a browser's request must also have come to an address or to `localhost`.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    host = headers.get("host", "")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return True
    if site is None and origin is None:
        return False
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return True
    return False


def bearer_token(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def refusal_of_mutation(local: bool, headers: Mapping[str, str], admin_token: str | None) -> str | None:
    """Why a caller, on this machine or not, may not change anything; None when it may."""
    offered = bearer_token(headers)
    if offered is not None:
        if admin_token and hmac.compare_digest(offered.encode(), admin_token.encode()):
            return None
        return "the bearer token is not the node's admin_token"
    wanted = (
        "send 'Authorization: Bearer <admin_token>'"
        if admin_token
        else "set admin_token in the configuration and send it as 'Authorization: Bearer <admin_token>'"
    )
    if not local:
        return f"changes are accepted from this machine only; {wanted}"
    if any(name in headers for name in PROXY_HEADERS):
        return f"changes through a proxy need the token; {wanted}"
    if is_foreign_page(headers):
        return f"changes asked for by a page of another site need the token; {wanted}"
    return None


# ---------------------------------------------------------------- which row


def find(method: str, target: str) -> tuple[Route, dict[str, str]] | Answer:
    """The row for a request and the words of its path; or the answer that there is none."""
    segments = urlsplit(target).path.split("/")
    allowed: set[str] = set()
    for route in ROUTES:
        words = matched(route.path.split("/"), segments)
        if words is None:
            continue
        methods = {*route.methods, "HEAD"} if "GET" in route.methods else set(route.methods)
        if method in methods:
            return route, words
        allowed |= methods
    if not allowed:
        return Answer.text("unknown path; /help lists all of them\n", HTTPStatus.NOT_FOUND)
    return Answer.text(
        f"{method} is not accepted here; use {' or '.join(sorted(allowed))}\n",
        HTTPStatus.METHOD_NOT_ALLOWED,
        {"Allow": ", ".join(sorted(allowed))},
    )


def matched(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    """The words in the places of `{name}`; None when a segment differs."""
    if len(pattern) != len(segments):
        return None
    words = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if not expected.startswith("{"):
            if expected != segment:
                return None
        elif not segment:
            return None
        else:
            words[expected.strip("{}")] = unquote(segment)
    return words


# ---------------------------------------------------------------- connections


class HttpServer:
    """Makes the protocol of each accepted connection and answers its request from the table.

    Too many connections: the oldest is ended. A request is answered within milliseconds, so that one does not send or
    does not read. `answered` is told the status of every answer. The caller owns the listening sockets.
    """

    def __init__(
        self,
        service: RestService,
        admin_token: str | None,
        answered: Callable[[int], None],
        limit: int,
        life_s: float,
    ) -> None:
        self._service = service
        self._admin_token = admin_token
        self._answered = answered
        self._limit = limit
        self._life_s = life_s
        self.connections: dict[HttpConnection, float] = {}  # by age: when it was accepted, in the loop's seconds

    def __call__(self) -> "HttpConnection":
        return HttpConnection(self)

    def opened(self, connection: "HttpConnection") -> None:
        if len(self.connections) >= self._limit:
            next(iter(self.connections)).abort()
        self.connections[connection] = asyncio.get_running_loop().time()

    def sweep(self, now_s: float) -> int:
        """Ends the connections older than a connection may be; returns how many. To be called about once a second."""
        old = [it for it, since_s in self.connections.items() if now_s - since_s >= self._life_s]
        for connection in old:
            connection.abort()
        return len(old)

    async def shutdown(self, deadline_s: float) -> None:
        """Requests that are being answered have this long; the other connections end at once."""
        answers = [it.answering for it in self.connections if it.answering is not None]
        for connection in list(self.connections):
            if connection.answering is None:
                connection.abort()
        if answers:
            await asyncio.wait(answers, timeout=deadline_s)
        for connection in list(self.connections):
            if connection.answering is None or not connection.answering.done():
                connection.abort()

    async def answer(self, request: h11.Request, transport: asyncio.BaseTransport) -> Answer:
        """What the table says to a request, whatever happens meanwhile."""
        method, target = request.method.decode("ascii"), request.target.decode("latin-1")
        found = find(method, target)
        if isinstance(found, Answer):
            return found
        route, words = found
        if route.mutating:
            refusal = refusal_of_mutation(is_local(transport), headers_of(request), self._admin_token)
            if refusal is not None:
                return Answer.text(refusal + "\n", HTTPStatus.FORBIDDEN)
        try:
            async with asyncio.timeout(REQUEST_DEADLINE_S):
                return await route.handler(self._service, words)
        except TimeoutError:
            sentence = f"{route.path} was not done within {REQUEST_DEADLINE_S:.0f} s\n"
            return Answer.text(sentence, HTTPStatus.GATEWAY_TIMEOUT)
        except Exception:
            log.exception("the admin route of %s %s failed", method, target)
            sentence = "this failed inside the admin process; its log has the reason\n"
            return Answer.text(sentence, HTTPStatus.INTERNAL_SERVER_ERROR)

    def counted(self, answer: Answer) -> None:
        self._answered(answer.status)


class HttpConnection(asyncio.Protocol):
    """One client, one request, one answer."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._request: h11.Request | None = None
        self._body_bytes = 0
        self.answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from asyncio's
        self._server.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.pop(self, None)

    def abort(self) -> None:
        """Ends it now; what was not sent is thrown away."""
        self._server.connections.pop(self, None)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._read(data)

    def eof_received(self) -> bool:
        """A client that has sent all may still read: the connection is kept while its answer is on the way."""
        self._read(b"")
        return self.answering is not None

    def _read(self, data: bytes) -> None:
        if self.answering is not None or self._transport.is_closing():
            return  # of a second request: nobody reads it
        try:
            self._http.receive_data(data)
            while self.answering is None and not self._transport.is_closing():
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._send(Answer.text(f"this is no HTTP request: {error}\n", error.error_status_hint))

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._request = event
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[])
                self._transport.write(self._http.send(go_on) or b"")
        elif isinstance(event, h11.Data):
            self._body_bytes += len(event.data)
            if self._body_bytes > MAX_BODY_BYTES:
                sentence = f"no request here needs a body, and none over {MAX_BODY_BYTES} bytes is read\n"
                self._send(Answer.text(sentence, HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
        elif isinstance(event, h11.EndOfMessage):
            assert self._request is not None
            self.answering = asyncio.get_running_loop().create_task(self._answer(self._request))
        else:  # ConnectionClosed: nothing was asked
            self._transport.close()

    async def _answer(self, request: h11.Request) -> None:
        self._send(await self._server.answer(request, self._transport))

    def _send(self, answer: Answer) -> None:
        """The one answer; what the client does not take at once is kept until it does, or is too old."""
        self._server.counted(answer)
        if self._transport.is_closing():
            return
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            "Cache-Control": "no-store",
            "Connection": "close",
            **answer.headers,
        }
        status = HTTPStatus(answer.status)
        head = h11.Response(status_code=status, reason=status.phrase, headers=list(headers.items()))
        sent = self._http.send(head) or b""
        if self._request is None or self._request.method != b"HEAD":
            sent += self._http.send(h11.Data(data=answer.body)) or b""
        self._transport.write(sent)
        self._transport.close()


def headers_of(request: h11.Request) -> dict[str, str]:
    """By lower-case name; one that is there several times has all its values, as HTTP joins them."""
    found: dict[str, str] = {}
    for name, value in request.headers:
        key, text = name.decode("ascii"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
