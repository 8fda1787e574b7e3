"""Headers on every response, error pages included: wrap the whole application, not a middleware inside it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ResponseHeaders:
    """Set headers on every response.

    Args:
        app: the application.
        always: replace what the application sets.
        default: apply where the application sets nothing.
        added: stand beside what the application sets; browsers enforce each Content-Security-Policy they get.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        always: Mapping[str, str],
        default: Mapping[str, str] | None = None,
        added: Mapping[str, str] | None = None,
    ) -> None:
        self._app, self._always, self._default, self._added = app, always, default or {}, added or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in self._always.items():
                    headers[name] = value
                for name, value in self._default.items():
                    headers.setdefault(name, value)
                for name, value in self._added.items():
                    headers.append(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)
