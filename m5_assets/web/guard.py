"""The guard in front of Dagster's webserver: what another web page can make a browser send changes nothing.

Dagster answers mutations over GET, and to any Host, Origin and content type: an image on any page, whose address is
`http://localhost:3000/graphql?query=mutation…`, deletes runs. Programs send neither Origin nor Sec-Fetch-Site and are
let through: the guard is no login.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from urllib.parse import urlsplit

from graphql import GraphQLSyntaxError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m5_assets.web.hosts import Host, refusal
from m5_assets.web.response_headers import ResponseHeaders

_log = logging.getLogger(__name__)

_GRAPHQL = "/graphql"
_HEALTH = "/server_info"  # three version numbers
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Dagster's UI shows notebooks in a frame of its own.
_ADDED = {"Content-Security-Policy": "frame-ancestors 'self'"}


class Refused(Exception):
    """A request that gets no further.

    Args:
        status: HTTP status.
        reason: one sentence for whoever sent it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """Let through to Dagster's webserver only requests of its own pages and of programs.

    Args:
        app: Dagster's application.
        hosts: allowed host names, without ports.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._hosts, self._inner = hosts, app
        self._answered = ResponseHeaders(self._check, always=_ALWAYS, added=_ADDED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, a web socket or the server's start and end."""
        await (self._inner if scope["type"] == "lifespan" else self._answered)(scope, receive, send)

    async def _check(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._require_host(scope, headers)
            _require_same_origin(scope, headers)
            if scope["type"] == "http":
                scope = _require_no_side_door(scope, headers)
        except Refused as problem:
            _log.warning("refused %s %r: %s", scope.get("method", "web socket"), scope["path"], problem)
            await PlainTextResponse(str(problem), problem.status)(scope, receive, send)
            return
        if scope["type"] == "websocket":
            receive = _subscriptions_only(receive, send)
        await self._inner(scope, receive, send)

    def _require_host(self, scope: Scope, headers: Headers) -> None:
        # A load balancer's health check names the address of the machine, which no setting can know.
        if scope["type"] == "http" and scope["path"] == _HEALTH and scope["method"] in ("GET", "HEAD"):
            return
        host = Host.of(headers)
        if host is None or host.name not in self._hosts:
            raise Refused(400, refusal(headers))


def _require_same_origin(scope: Scope, headers: Headers) -> None:
    """Refuse what another origin sent, but not a link that a person follows (an alert's, for instance).

    Another port of the same machine is another origin, although browsers call it "same-site".

    Raises:
        Refused: if Sec-Fetch-Site or Origin names another origin.
    """
    site = headers.get("sec-fetch-site", "none")
    followed = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    if site not in ("same-origin", "none") and not (followed and scope.get("method") == "GET"):
        raise Refused(403, f"This request comes from another web page (Sec-Fetch-Site: {site[:20]!r}).")
    for origin in headers.getlist("origin"):
        if not _is_own(origin, Host.of(headers)):
            raise Refused(403, f"This request comes from another web page (Origin: {origin[:200]!r}).")


def _is_own(origin: str, host: Host | None) -> bool:
    try:
        found = urlsplit(origin)
        port = found.port or _DEFAULT_PORTS[found.scheme]
    except (ValueError, KeyError):
        return False
    # Without a port, the scheme decides; behind a proxy that ends TLS, only the Origin knows it.
    return host is not None and (found.hostname, port) == (host.name, host.port or _DEFAULT_PORTS[found.scheme])


def _require_no_side_door(scope: Scope, headers: Headers) -> Scope:
    """Refuse methods and content types that a form or an image can send.

    Returns:
        The scope; that of the GraphiQL page has no query that could be executed.

    Raises:
        Refused: if GraphQL is asked by anything but a JSON POST, or another POST has a body that is no JSON.
    """
    method, path = scope["method"], scope["path"]
    if method == "POST":
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        without_body = "content-type" not in headers and path != _GRAPHQL
        if kind != "application/json" and not without_body:
            raise Refused(415, "Send a body of the content type application/json.")
    elif method not in ("GET", "HEAD"):
        raise Refused(405, "Only GET, HEAD and POST are answered.")
    elif path == _GRAPHQL:
        if method == "HEAD" or "text/html" not in headers.get("accept", ""):
            raise Refused(405, "GraphQL is answered over POST only.")
        return {**scope, "query_string": b""}
    return scope


def _subscriptions_only(receive: Receive, send: Send) -> Receive:
    """Return a `receive` that ends the web socket at the first operation that is no subscription."""

    async def checked() -> Message:
        message = await receive()
        if message["type"] == "websocket.receive" and not _may_start(message.get("text")):
            _log.warning("refused a web socket's message: only subscriptions are answered here")
            await send({"type": "websocket.close", "code": 1008, "reason": "only subscriptions are answered here"})
            return {"type": "websocket.disconnect", "code": 1008}
        return message

    return checked


def _may_start(text: str | None) -> bool:
    try:
        message = json.loads(text or "")
        if message["type"] != "start":
            return True
        document = parse(message["payload"]["query"])
    except GraphQLSyntaxError:
        return True  # Dagster's answer says where
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return all(operation.operation is OperationType.SUBSCRIPTION for operation in operations)
