"""The host names a server answers to.

A page whose name was made to resolve to this machine (DNS rebinding) is asked for by that name, so the Host header
gives it away. The check applies whatever address a server binds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104  # a user may ask for these; the default is loopback

_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Host:
    """A Host header: name in lower case, port or None for the scheme's default."""

    name: str
    port: int | None

    @classmethod
    def of(cls, headers: Headers) -> Host | None:
        """Return the request's Host, or None if it is missing, malformed or there are several."""
        given = headers.getlist("host")
        found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            return None
        return cls((found["ipv6"] or found["name"]).lower(), int(found["port"]) if found["port"] else None)


def allowed_hosts(bound: str, further: Iterable[str]) -> frozenset[str]:
    """Return the names a server answers to: loopback, the address it binds, and the configured ones.

    Args:
        bound: address to bind; 0.0.0.0 and :: are no names.
        further: `M5_ALLOWED_HOSTS`.
    """
    own = () if bound in EVERY_ADDRESS else (bound,)
    return frozenset(name.lower() for name in (*LOOPBACK, *own, *further))


def refusal(headers: Headers) -> str:
    """Return what to say to a request with another Host."""
    named = ", ".join(headers.getlist("host"))[:200] or "none"
    return f"Host {named!r} is not allowed. Add the name to M5_ALLOWED_HOSTS if this server is reached by it."


class HostCheck:
    """Answer 400 to requests with a Host header that is not allowed."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            host = Host.of(headers)
            if host is None or host.name not in self._hosts:
                await PlainTextResponse(refusal(headers), 400)(scope, receive, send)
                return
        await self._app(scope, receive, send)
