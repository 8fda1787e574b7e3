"""The Dagster instance that commands work with: its folder, its configuration, its pool limits."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from m5_assets.automation.home_instance import home_folder, link_configuration
from m5_assets.clone import CLONE, IS_CLONE
from m5_assets.errors import UserError
from m5_assets.private_folder import private_folder
from m5_assets.resources.sagemaker_jobs import HEAVY
from m5_assets.settings import settings

_UI = "ui.lock"


def dagster_home() -> Path:
    """Return $DAGSTER_HOME, created if needed.

    The default is a folder in M5_HOME, with a link to the project's dagster.yaml.
    """
    private_folder(settings().home)
    if "DAGSTER_HOME" not in os.environ:
        os.environ["DAGSTER_HOME"] = str(home_folder())
    home = Path(os.environ["DAGSTER_HOME"])
    private_folder(home)
    link_configuration(home)
    return home


def prepare_instance() -> None:
    """Prepare the instance for a daemon: folder, configuration, pool limits."""
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        _set_pool_limits(instance)


@contextlib.contextmanager
def only_ui(port: int) -> Iterator[None]:
    """Let one `m5 ui` at a time use M5_HOME; two daemons would request each week twice.

    Raises:
        UserError: another one runs, or the home belongs to another clone.
    """
    if other := of_another_clone():
        raise UserError(": ".join(other))
    private_folder(settings().home)
    with (settings().home / _UI).open("a+") as record:
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"`m5 ui` already runs on M5_HOME={settings().home} ({running_ui()}): stop it, or set another M5_HOME"
            ) from None
        record.truncate(0)
        record.write(f"process {os.getpid()}, port {port}, {CLONE}")
        record.flush()
        yield


def running_ui() -> str:
    """Return what runs as `m5 ui` on M5_HOME: process, port and clone; empty if nothing does."""
    try:
        with (settings().home / _UI).open() as record:
            try:
                fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return record.read() or "starting"
    except FileNotFoundError:
        pass
    return ""


def of_another_clone() -> tuple[str, str] | None:
    """Return what to say of a home whose dagster.yaml is another clone's, and the remedy; None for any other home."""
    link = settings().home / "dagster" / "dagster.yaml"
    clone = link.resolve().parent
    if not (IS_CLONE and link.is_symlink() and link.exists()) or clone == CLONE.resolve():
        return None
    return (
        f"M5_HOME {settings().home} belongs to the clone {clone}",
        f"set another M5_HOME, or remove {link} to move it",
    )


def _set_pool_limits(instance: dg.DagsterInstance) -> None:
    # Dagster keeps the limits of pools in its database; dagster.yaml can only give all pools the same one.
    storage = instance.event_log_storage
    if storage.get_concurrency_info(HEAVY).slot_count != settings().heavy_jobs:
        storage.set_concurrency_slots(HEAVY, settings().heavy_jobs)
