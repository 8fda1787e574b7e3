"""Which host names a server answers to."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from m5_assets.web.hosts import LOOPBACK, Host, allowed_hosts


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", ""])  # noqa: S104  # named, not bound
def test_binding_every_address_allows_no_further_name(bound: str) -> None:
    assert allowed_hosts(bound, ()) == set(LOOPBACK)


def test_the_bound_address_and_the_configured_names_are_allowed() -> None:
    assert allowed_hosts("192.0.2.7", ("Forecasts.example.com",)) == {*LOOPBACK, "192.0.2.7", "forecasts.example.com"}


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", Host("localhost", None)),
        ("LocalHost:8050", Host("localhost", 8050)),
        ("[::1]:8050", Host("::1", 8050)),
        ("[::1]", Host("::1", None)),
        ("", None),
        ("::1", None),
        ("localhost:", None),
        ("localhost:80a", None),
        ("user@localhost", None),
        ("localhost/", None),
        ("localhost, evil.example", None),
        ("localhost\n", None),
    ],
)
def test_a_host_header_is_read_strictly(header: str, host: Host | None) -> None:
    assert Host.of(Headers({"host": header})) == host
