"""The socket of a server, bound before anything else starts, so that a taken port ends a command at once."""

from __future__ import annotations

import errno
import socket

from m5_assets.errors import UserError

_REASONS = {
    errno.EADDRINUSE: "is taken by another program: stop it, or choose another port with --port",
    errno.EACCES: "is reserved for the system: choose one above 1023 with --port",
}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Args:
        host: name or address of this machine; empty for all addresses.
        port: port.

    Raises:
        UserError: the port is taken or reserved, or the host is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        bound = socket.socket(family, kind, protocol)
    except OSError:
        raise _no_address(host) from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(128)
    except OSError as problem:
        bound.close()
        if problem.errno not in _REASONS:
            raise _no_address(host) from None
        raise UserError(f"port {port} of {host or 'this machine'} {_REASONS[problem.errno]}") from None
    return bound


def _no_address(host: str) -> UserError:
    return UserError(f"{host!r} is no address of this machine: choose one with --host, such as 127.0.0.1")
