from __future__ import annotations

import socket

import pytest

from m5_assets.errors import UserError
from m5_assets.web.listening import listen


def test_a_free_port_is_bound_and_a_taken_one_is_named() -> None:
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        for host in ("127.0.0.1", "localhost", "", "0.0.0.0"):  # noqa: S104  # what users may ask for
            with pytest.raises(UserError, match=f"port {port} of .* is taken by another program: .*--port"):
                listen(host, port)
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "http://127.0.0.1"])
def test_a_host_that_cannot_be_bound_is_named(host: str) -> None:
    with pytest.raises(UserError, match=f"'{host}' is no address of this machine: .*--host, such as 127.0.0.1"):
        listen(host, 3000)
