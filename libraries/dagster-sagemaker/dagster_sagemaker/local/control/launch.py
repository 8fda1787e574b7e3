"""Starts a job: stores its folder atomically and starts its supervisor process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

from dagster_sagemaker.local.job_directory import JobState, enter_stage
from dagster_sagemaker.local.runner_settings import RunnerSettings
from dagster_sagemaker.local.shared_files import lock_for_life, sync, write_json

# The variables that a job inherits from the orchestrator; all others, secrets above all, stay behind.
_INHERITED = re.compile(r"PATH|HOME|LANG|TMPDIR|PYTHONPATH|VIRTUAL_ENV|[A-Z]+_NUM_THREADS")
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


def launch(settings: RunnerSettings, target: Path, request: Mapping[str, Any], runner: Mapping[str, Any]) -> None:
    """Store a job and start its supervisor.

    Args:
        settings: the runner's settings.
        target: the job's folder, which must not exist.
        request: the request that creates it.
        runner: the content of its runner.json.

    Raises:
        FileExistsError: a job of this name exists.
    """
    lock = _store(target, request, runner)
    try:
        _start_supervisor(target, lock, _environment(settings))
    finally:
        os.close(lock)


def _store(target: Path, request: Mapping[str, Any], runner: Mapping[str, Any]) -> int:
    """Put a complete job folder in place atomically; return the descriptor of its lock, which is held."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    now = time.time()
    state = JobState(status="InProgress", created=now, modified=now, tags=request.get("Tags", []))
    enter_stage(state, "Starting")
    write_json(folder / "request.json", request)
    write_json(folder / "runner.json", runner)
    write_json(folder / "state.json", state)
    # Locked before the job becomes visible, so that it is never taken for a dead one.
    lock = lock_for_life(folder / "supervisor.lock")
    try:
        _put_in_place(folder, target)
    except BaseException:  # an interrupt, too: with its lock held, a job without a supervisor would look alive
        os.close(lock)
        raise
    return lock


def _put_in_place(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        if not target.exists():
            raise
        raise FileExistsError(target) from error
    sync(target.parent)


def _environment(settings: RunnerSettings) -> dict[str, str]:
    """Return the environment of the supervisor, which its containers inherit."""
    environment = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
    if _PACKAGE_ROOT.name != "site-packages":
        # Not installed as a package: jobs must import the same code as the orchestrator, wherever it was started.
        paths = [str(_PACKAGE_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    if settings.s3_endpoint:
        environment |= _aws_environment(settings)
    return environment


def _aws_environment(settings: RunnerSettings) -> dict[str, str]:
    """Return the variables that give access to S3 to the supervisor and, like a job's role, to its containers.

    They travel in the environment and not in the job's folder, so that credentials are never written to disk.
    """
    environment = {
        "AWS_ENDPOINT_URL_S3": settings.s3_endpoint,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_REGION": settings.region,
    }
    credentials = boto3.session.Session().get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        found = {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            "AWS_SESSION_TOKEN": frozen.token,
        }
        environment |= {name: value for name, value in found.items() if value}
    return environment


def _start_supervisor(directory: Path, lock: int, environment: Mapping[str, str]) -> None:
    with (directory / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster_sagemaker.local.job.supervisor", str(directory)],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock,),
        )
    # Only to reap it: otherwise a finished child stays a zombie as long as the orchestrator lives.
    threading.Thread(target=process.wait, daemon=True).start()
