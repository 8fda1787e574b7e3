"""Dagster's webserver behind the guard."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import dagster as dg
import uvicorn
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from m5_assets.asset_groups import LINEAGE_PATH
from m5_assets.dagster_internals import WorkspaceFileTarget, WorkspaceProcessContext
from m5_assets.web.guard import Guard
from m5_assets.web.listening import listen

_log = logging.getLogger(__name__)

# The values of `dagster-webserver`.
_POLL_MILLISECONDS = 2000
_STATEMENT_MILLISECONDS, _RECYCLE_SECONDS, _OVERFLOW = 15_000, 3_600, 20

_SHUTDOWN_SECONDS = 10
"""Patience with open requests at the end; a page's web socket would stay open forever."""


def serve(workspace: Path, host: str, port: int, hosts: Collection[str]) -> None:
    """Serve Dagster's UI until stopped (Ctrl-C, SIGTERM).

    Args:
        workspace: workspace.yaml, which names the code location.
        host: address to bind. The UI has no login: anything but loopback belongs behind a proxy that has one.
        port: port to bind.
        hosts: allowed host names.

    Raises:
        UserError: the address cannot be bound.
    """
    bound = listen(host, port)
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_MILLISECONDS, _RECYCLE_SECONDS, _OVERFLOW)
        target = WorkspaceFileTarget(paths=[str(workspace)])
        with WorkspaceProcessContext(instance, target, version=__version__) as context:
            app = guarded(context, hosts)
            _log.info("Dagster's UI: http://%s:%d (Ctrl-C to stop)", host, port)
            _log.info("Its asset graph, all groups open: http://%s:%d%s", host, port, LINEAGE_PATH)
            config = uvicorn.Config(
                app,
                host=host,
                port=port,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
            uvicorn.Server(config).run(sockets=[bound])


def guarded(context: WorkspaceProcessContext, hosts: Collection[str]) -> Guard:
    """Return Dagster's application behind the guard."""
    return Guard(create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_MILLISECONDS), hosts)
