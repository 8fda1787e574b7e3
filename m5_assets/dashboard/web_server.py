"""The dashboard's server process: `serve` runs the application of `app` with the platform's settings."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import uvicorn

from m5_assets.dashboard import static_files
from m5_assets.dashboard.app import create_app
from m5_assets.dashboard.last_run import last_run_of
from m5_assets.resources.postgres import PostgresResource
from m5_assets.settings import settings
from m5_assets.web.hosts import LOOPBACK, allowed_hosts
from m5_assets.web.listening import listen

_log = logging.getLogger(__name__)


def serve(host: str, port: int) -> None:
    """Serve the pages until stopped (Ctrl-C, SIGTERM).

    Args:
        host: address to bind. The pages have no login: anything but loopback belongs behind a proxy that has one.
        port: port to bind.

    Raises:
        UserError: the address cannot be bound.
    """
    source, bound = settings(), listen(host, port)
    database = PostgresResource.of(source)
    dagster_home = Path(os.environ.get("DAGSTER_HOME", str(source.home / "dagster")))
    hosts = allowed_hosts(host, source.allowed_hosts)
    app = create_app(database.engine, last_run=last_run_of(dagster_home), hosts=hosts)
    static_files.prepare()
    if host not in LOOPBACK:
        _log.warning("the dashboard has no login and %s is reachable from other machines: put a proxy in front", host)
    _log.info("dashboard: http://%s:%d (Ctrl-C to stop)", host or "0.0.0.0", port)  # noqa: S104
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[bound])
