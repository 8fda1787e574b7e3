"""`m5 webserver`: Dagster's webserver without the daemon, for service managers and containers."""

from __future__ import annotations

from pathlib import Path

import click

from m5_assets.cli.instance import dagster_home
from m5_assets.cli.parameters import PORT
from m5_assets.settings import settings
from m5_assets.web.hosts import LOOPBACK, allowed_hosts


@click.command()
@click.option("--port", type=PORT, default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Keep to loopback: Dagster's UI has no login.")
@click.option(
    "--workspace",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="workspace.yaml, which names the code location.",
)
def webserver(port: int, host: str, workspace: Path) -> None:
    """Serve Dagster's UI, guarded against other web pages.

    Unlike dagster-webserver, it answers only its own pages and programs, and only under loopback and the host names of
    M5_ALLOWED_HOSTS.
    """
    from m5_assets.web.dagster_ui import serve  # Dagster's webserver takes two seconds to import

    dagster_home()
    if host not in LOOPBACK:
        click.echo(f"Warning: Dagster's UI has no login and binds {host}: put a proxy with a login in front", err=True)
    serve(workspace, host, port, allowed_hosts(host, settings().allowed_hosts))
