"""The HTTP face of the admin process: from the one route table to an aiohttp server on an inherited socket.

What it is not: it knows no route by name and no figure; `rest_routes` holds the table and what each row does.

    accept -> ConnectionGate (at most so many, none old) -> aiohttp's parser -> the table:
                 match the table, 404 / 405            [application, _plain_errors]
                 mutating: who may                     [refusal_of_mutation]
                 run the row under a deadline          [_route_handler; 504 past it, 500 when it raises]
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
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from dynomite_mp.workers.rest_routes import ROUTES, Answer, RestService, Route

log = logging.getLogger(__name__)

CONNECTION_LIFE_S: Final = 15.0
REQUEST_DEADLINE_S: Final = 10.0
MAX_CONNECTIONS: Final = 128
MAX_BODY_BYTES: Final = 64 * 1024

PROXY_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


# ---------------------------------------------------------------- who may change anything


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
    site = headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    host = headers.get("Host", "")
    origin = headers.get("Origin")
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
    scheme, _, token = headers.get("Authorization", "").partition(" ")
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


# ---------------------------------------------------------------- one request


def response_of(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})
    response.headers["Cache-Control"] = "no-store"
    response.force_close()
    return response


def _said(status: int, sentence: str) -> web.Response:
    return response_of(Answer.text(sentence + "\n", status))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _route_handler(route: Route, service: RestService, admin_token: str | None) -> Handler:
    """What aiohttp calls for a row."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.mutating:
            refusal = refusal_of_mutation(is_local(request.transport), request.headers, admin_token)
            if refusal is not None:
                return _said(403, refusal)
        try:
            async with asyncio.timeout(REQUEST_DEADLINE_S):
                return response_of(await route.handler(service, dict(request.match_info)))
        except TimeoutError:
            return _said(504, f"{route.path} was not done within {REQUEST_DEADLINE_S:.0f} s")

    return handle


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error a sentence in plain text; nothing of the inside shown."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _said(404, "unknown path; /help lists all of them")
    except web.HTTPMethodNotAllowed as error:
        allowed = sorted(error.allowed_methods)
        response = _said(405, f"{request.method} is not accepted here; use {' or '.join(allowed)}")
        response.headers["Allow"] = ", ".join(allowed)
        return response
    except web.HTTPException as error:
        return _said(error.status, error.reason)
    except Exception:
        log.exception("the admin route of %s %s failed", request.method, request.path)
        return _said(500, "this failed inside the admin process; its log has the reason")


def application(service: RestService, admin_token: str | None, answered: Callable[[int], None]) -> web.Application:
    """`answered` is told the status of every answer."""

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        answered(response.status)
        return response

    app = web.Application(middlewares=[counted, _plain_errors], client_max_size=MAX_BODY_BYTES)
    for route in ROUTES:
        handler = _route_handler(route, service, admin_token)
        for method in route.methods:
            if method == "GET":
                app.router.add_get(route.path, handler)  # HEAD too
            else:
                app.router.add_route(method, route.path, handler)
    return app


# ---------------------------------------------------------------- connections


async def http_server(service: RestService, admin_token: str | None, answered: Callable[[int], None]) -> web.Server:
    """The factory of aiohttp's protocols for the table. The caller owns the sockets."""
    runner = web.AppRunner(
        application(service, admin_token, answered),
        handle_signals=False,
        access_log=None,
        keepalive_timeout=CONNECTION_LIFE_S,
    )
    await runner.setup()
    server = runner.server
    assert isinstance(server, web.Server)
    return server


class ConnectionGate:
    """Makes the protocol of each accepted connection; ends the oldest one when there are too many, and all old ones.

    A request is answered within milliseconds, so the oldest of many connections is one that does not send or does not
    read. The list, in order of age, is aiohttp's own; the gate adds only when it first saw each.
    """

    def __init__(self, server: web.Server, limit: int, life_s: float) -> None:
        self._server = server
        self._limit = limit
        self._life_s = life_s
        self._first_seen_s: dict[web.RequestHandler, float] = {}

    def __call__(self) -> asyncio.BaseProtocol:
        handlers = self._server.connections
        if len(handlers) >= self._limit:
            oldest = next((handler for handler in handlers if _is_open(handler)), None)
            if oldest is not None:
                _end(oldest)
        return self._server()

    def sweep(self, now_s: float) -> int:
        """Ends the connections older than a connection may be; returns how many. To be called about once a second."""
        seen = {handler: self._first_seen_s.get(handler, now_s) for handler in self._server.connections}
        old = [handler for handler, first_s in seen.items() if now_s - first_s >= self._life_s]
        for handler in old:
            del seen[handler]
            _end(handler)
        self._first_seen_s = seen
        return len(old)


def _is_open(handler: web.RequestHandler) -> bool:
    return handler.transport is not None and not handler.transport.is_closing()


def _end(handler: web.RequestHandler) -> None:
    if handler.transport is not None:
        handler.transport.abort()
