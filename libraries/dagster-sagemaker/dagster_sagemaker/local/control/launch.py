"""From a request to a running supervisor: the job's folder, put in place at once, and the process.

Not here: whether a request is a good one (`api`).
"""

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
from dagster_sagemaker.local.shared_files import lock_for_life, write_json

# What a job inherits of the orchestrator's environment; anything else, secrets above all, stays behind.
_INHERITED = re.compile(r"PATH|HOME|LANG|TMPDIR|PYTHONPATH|VIRTUAL_ENV|[A-Z]+_NUM_THREADS")
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


def launch(settings: RunnerSettings, target: Path, request: Mapping[str, Any], runner: Mapping[str, Any]) -> None:
    """Store a job and start its supervisor.

    Args:
        settings: What jobs are run with.
        target: The job's folder, which must not exist.
        request: The request that creates it.
        runner: What its runner.json shall hold.

    Raises:
        FileExistsError: A job of this name exists.
    """
    lock = _store(target, request, runner)
    try:
        _start_supervisor(target, lock, _environment(settings))
    finally:
        os.close(lock)


def _store(target: Path, request: Mapping[str, Any], runner: Mapping[str, Any]) -> int:
    """Put a complete job folder in place at once; the descriptor of its lock, held."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    now = time.time()
    state = JobState(status="InProgress", created=now, modified=now, tags=request.get("Tags", []))
    enter_stage(state, "Starting")
    write_json(folder / "request.json", request)
    write_json(folder / "runner.json", runner)
    write_json(folder / "state.json", state)
    # Locked before anybody can see the job, so it is never taken for a dead one.
    lock = lock_for_life(folder / "supervisor.lock")
    try:
        folder.rename(target)
    except OSError as error:
        os.close(lock)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        if not target.exists():
            raise
        raise FileExistsError(target) from error
    return lock


def _environment(settings: RunnerSettings) -> dict[str, str]:
    """The supervisor's environment, and by it the containers'."""
    environment = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
    if _PACKAGE_ROOT.name != "site-packages":
        # Not installed: jobs import the code that the orchestrator runs, wherever it was started.
        paths = [str(_PACKAGE_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    if settings.s3_endpoint:
        environment |= _aws_environment(settings)
    return environment


def _aws_environment(settings: RunnerSettings) -> dict[str, str]:
    """The way to S3, for the supervisor and, as SageMaker lends its role, for the containers.

    Through the environment and not through the job's folder: credentials are never written to disk.
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
    # Only to reap it: a finished child would else stay a zombie for as long as the orchestrator lives.
    threading.Thread(target=process.wait, daemon=True).start()
