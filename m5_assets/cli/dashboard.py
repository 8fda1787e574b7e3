"""`m5 dashboard`: the planners' dashboard on this machine."""

from __future__ import annotations

import click

from m5_assets.cli.parameters import PORT
from m5_assets.dashboard.web_server import serve


@click.command()
@click.option("--port", type=PORT, default=8050, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Keep to loopback: the dashboard has no login.")
def dashboard(port: int, host: str) -> None:
    """Serve the planners' dashboard.

    Its pages are Overview, Explore, Exceptions and Accuracy.
    """
    serve(host, port)
