"""`m5 doctor`: checks everything a forecast needs and suggests a fix for each problem.

Each examination yields findings and changes nothing, except that it starts the embedded database if that is in use.
Not here: incidents of single runs and weeks (`m5_assets.automation.sensors.incident_detection`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import importlib.metadata
import json
import os
import shutil
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal

import boto3
import click
import dagster as dg
import pyarrow.fs as pafs
from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from m5_assets.alerts import AppriseChannel, DeliveryError, Incident, announce, channels_of
from m5_assets.automation.due_weeks import FORECAST
from m5_assets.automation.sensors.incident_detection import old_models
from m5_assets.checks.landing import landed_is_fresh
from m5_assets.cli.instance import dagster_home, of_another_clone
from m5_assets.cli.problems import in_one_line
from m5_assets.dagster_internals import InstigatorType
from m5_assets.dashboard.static_files import url
from m5_assets.errors import UserError
from m5_assets.model_specs import MODELS
from m5_assets.private_folder import is_open, private_folder
from m5_assets.readers.known_inputs import STORES_REMEDY, KnownInputs
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import BadInput
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.postgres import PostgresResource, migrate
from m5_assets.resources.sagemaker_jobs import HEAVY
from m5_assets.settings import Settings, settings
from m5_assets.weeks import Week

_FREE_GB_WRONG, _FREE_GB_LOW = 2.0, 10.0
_PINNED = ("dagster", "dagster-webserver", "dagster-aws", "dagster-postgres")

_PATIENCE_SECONDS = 2.0

Level = Literal["good", "note", "wrong"]


@dataclass(frozen=True)
class Diagnosis:
    """One finding of an examination.

    Attributes:
        name: what was examined.
        level: good, a note that is not urgent, or wrong.
        text: the finding.
        remedy: what to do about it, unless it is good.
    """

    name: str
    level: Level
    text: str
    remedy: str = ""


@click.command()
@click.option("--notify", "sends", is_flag=True, help="Also send problems over the alert channels, e.g. from cron.")
def doctor(sends: bool) -> None:
    """Check the installation and suggest fixes.

    The exit code is 1 if something is wrong.
    """
    findings = examine(settings())
    click.echo(report(findings))
    if sends:
        notify(findings, settings())
    if any(finding.level == "wrong" for finding in findings):
        sys.exit(1)


def examine(source: Settings) -> list[Diagnosis]:
    """Run all examinations; one that fails becomes a finding itself."""
    with contextlib.suppress(OSError):  # `_folders` reports it
        dagster_home()
    examinations: dict[str, Callable[[Settings], Iterator[Diagnosis]]] = {
        "versions": _versions,
        "folders": _folders,
        "disk": _disk,
        "landing": _landing,
        "lake": _lake,
        "closed days": _closed_days,
        "models": _models,
        "database": _database,
        "credentials": _credentials,
        "alerts": _alerts,
        "dagster": _dagster,
        "ports": _ports,
    }
    found: list[Diagnosis] = []
    for name, look in examinations.items():
        try:
            found += look(source)
        except Exception as problem:  # noqa: BLE001  # whatever it is, it is reported and the other examinations run
            lines = str(problem).strip().splitlines()
            text_ = in_one_line(problem) or f"{type(problem).__name__}: {lines[0] if lines else 'no reason given'}"
            found.append(Diagnosis(name, "wrong", text_, "see docs/operations.md"))
    return found


def report(findings: Sequence[Diagnosis]) -> str:
    """Return the findings as text, each with its remedy below it."""
    marks = {"good": "ok   ", "note": "note ", "wrong": "WRONG"}
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.level]} {finding.name:<12} {finding.text}")
        if finding.remedy:
            lines.append(f"{'':<18} -> {finding.remedy}")
    wrong = sum(finding.level == "wrong" for finding in findings)
    lines.append(f"{wrong or 'no'} {'problem' if wrong == 1 else 'problems'} found")
    return "\n".join(lines)


def notify(findings: Sequence[Diagnosis], source: Settings) -> None:
    """Send each problem once over the alert channels, where no daemon can; a file in M5_HOME keeps what was sent."""
    state = source.home / "alerts" / "doctor.json"
    incidents = [
        Incident(
            key=f"doctor:{finding.name}",
            title=f"m5 doctor: {finding.name}",
            what=finding.text,
            effect="forecasts may fail",
            remedy=finding.remedy,
            link=source.alerts.ui_url,
        )
        for finding in findings
        if finding.level == "wrong"
    ]
    told = announce(incidents, _sent(state), channels_of(source.alerts))
    state.parent.mkdir(parents=True, exist_ok=True)
    partial = state.with_suffix(".partial")
    partial.write_text(told)
    partial.replace(state)


def _sent(state: Path) -> str | None:
    """Return what was sent before; None if nothing was, or the file is damaged: better twice than never."""
    try:
        text_ = state.read_text()
        json.loads(text_)
    except (OSError, ValueError):
        return None
    return text_


def _versions(_: Settings) -> Iterator[Diagnosis]:
    found = {name: importlib.metadata.version(name) for name in _PINNED}
    cores = {found["dagster"], found["dagster-webserver"]}
    libraries = {found["dagster-aws"], found["dagster-postgres"]}
    said = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(cores) > 1 or len(libraries) > 1:
        yield Diagnosis("versions", "wrong", said, "install with constraints.txt: `make install`")
    else:
        yield Diagnosis("versions", "good", said)


def _folders(source: Settings) -> Iterator[Diagnosis]:
    home = Path(os.environ["DAGSTER_HOME"])
    for name, folder in (("M5_HOME", source.home), ("DAGSTER_HOME", home)):
        try:
            private_folder(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as problem:
            yield Diagnosis("folders", "wrong", f"{name}: {problem}", f"make {folder} writable for this user")
        else:
            yield Diagnosis("folders", "good", f"{name} {folder} is writable")
    if other := of_another_clone():
        yield Diagnosis("folders", "wrong", *other)
    if is_open(source.home):
        text_ = f"other accounts of this machine can read M5_HOME {source.home}"
        yield Diagnosis("folders", "wrong", text_, f"`chmod 700 {source.home}`")


def _disk(source: Settings) -> Iterator[Diagnosis]:
    existing = next(folder for folder in (source.home, *source.home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    text_ = f"{free:,.1f} GB free at {source.home}"
    if free < _FREE_GB_LOW:
        level: Level = "wrong" if free < _FREE_GB_WRONG else "note"
        yield Diagnosis("disk", level, text_, "`m5 housekeeping --dry-run` shows what it would delete")
    else:
        yield Diagnosis("disk", "good", text_)


def _landing(source: Settings) -> Iterator[Diagnosis]:
    try:
        landing = LandingFolder.of(source)
        found = landed_is_fresh(landing.open().days()[1], dt.datetime.now(dt.UTC), source)
        missing = landing.open().missing()
        verified = None if missing else landing.verified()
    except (BadInput, OSError) as problem:
        yield Diagnosis(
            "landing", "wrong", str(problem), f"put M5's CSV files into {source.landing}; `m5 sample` generates some"
        )
        return
    for name in missing:
        yield Diagnosis("landing", "wrong", f"no {name} in {source.landing}", "put it beside the sales")
    for text_ in verified.notes if verified else ():
        yield Diagnosis("landing", "note", text_, "nothing, if that is meant")
    for text_ in verified.ids.texts() if verified else ():
        yield Diagnosis("landing", "note", f"sales and prices: {text_}", "compare the ids of both files")
    remedy = "" if found.passed else "ask whoever sends the extract for the missing weeks"
    yield Diagnosis("landing", "good" if found.passed else "wrong", found.text, remedy)


def _lake(source: Settings) -> Iterator[Diagnosis]:
    lake = Lake(root=source.lake)
    if not isinstance(lake.filesystem, pafs.LocalFileSystem):
        lake.write_bytes(".doctor", b"written by m5 doctor")  # only a write shows what the S3 policy allows
    weeks = lake.partitions(FORECAST)
    if not weeks:
        yield Diagnosis("lake", "note", f"no forecast in {source.lake}", "run `m5 forecast --week …`")
        return
    manifest = lake.get(FORECAST, weeks[-1])
    missing = [f.key for f in manifest.files if lake.filesystem.get_file_info(lake.path(f.key)).size != f.bytes]
    if missing:
        remedy = f"run `m5 forecast --week {weeks[-1]}` to rebuild it"
        yield Diagnosis("lake", "wrong", f"{missing[0]} is missing or differs from its manifest", remedy)
    else:
        yield Diagnosis("lake", "good", f"{len(weeks)} forecasts in {source.lake}, the newest for week {weeks[-1]}")


def _closed_days(source: Settings) -> Iterator[Diagnosis]:
    lake = Lake(root=source.lake)
    weeks = lake.partitions("raw_sales")
    if weeks:
        for fault in KnownInputs(lake).unknown_stores(Week.parse(max(weeks)), ForecastPolicy.of(source)):
            yield Diagnosis("closed days", "wrong", fault, STORES_REMEDY)


def _models(source: Settings) -> Iterator[Diagnosis]:
    lake = Lake(root=source.lake)
    old = list(old_models(lake, dt.datetime.now(dt.UTC), source, source.alerts.ui_url))
    for incident in old:
        yield Diagnosis("models", "wrong", incident.title, incident.remedy)
    trained = {
        d: lake.get(d, w[-1]).attributes["trained_week"] for d in (m.model for m in MODELS) if (w := lake.partitions(d))
    }
    if not old:
        said = ", ".join(f"{dataset} of {week}" for dataset, week in trained.items()) or "none trained yet"
        yield Diagnosis("models", "good", said)


def _database(source: Settings) -> Iterator[Diagnosis]:
    try:
        engine = PostgresResource.of(source).engine()
        with engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
            query = "SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = session_user"
            user, is_superuser = connection.execute(text(query)).one()
    except (SQLAlchemyError, UserError, OSError, ValueError) as problem:
        first = str(problem).splitlines()[0]
        yield Diagnosis(
            "database",
            "wrong",
            first,
            "does PostgreSQL run, and is M5_DATABASE_URL right? Empty means the embedded server",
        )
        return
    yield Diagnosis("database", "good", f"PostgreSQL {version} answers at {engine.url.render_as_string(True)}")
    if is_superuser:
        remedy = "run `m5 migrate`, set M5_DATABASE_READER_PASSWORD and M5_DATABASE_WRITER_PASSWORD: docs/database.md"
        yield Diagnosis("roles", "wrong", f"M5_DATABASE_URL logs in as the superuser {user}", remedy)
    else:
        yield Diagnosis("roles", "good", f"reads as {user}, who is no superuser")
    yield from _migrations(engine)


def _migrations(engine: Engine) -> Iterator[Diagnosis]:
    with engine.connect() as connection:
        found, newest = migrate.revisions(connection)
    if found is None:
        yield Diagnosis("migrations", "note", "the schema m5 does not exist yet", "the first weekly run creates it")
    elif found != newest:
        yield Diagnosis(
            "migrations", "wrong", f"the schema is at {found}, the code at {newest}", "the next weekly run migrates it"
        )
    else:
        yield Diagnosis("migrations", "good", f"the schema is at {found}, the newest")


def _credentials(source: Settings) -> Iterator[Diagnosis]:
    if source.sagemaker.mode != "aws":
        yield Diagnosis("credentials", "good", "not needed in local mode")
        return
    try:
        identity = boto3.client("sts", region_name=source.sagemaker.region).get_caller_identity()
        boto3.client("sagemaker", region_name=source.sagemaker.region).list_training_jobs(MaxResults=1)
    except (BotoCoreError, ClientError) as problem:
        yield Diagnosis("credentials", "wrong", str(problem), "provide AWS credentials that may use SageMaker")
    else:
        yield Diagnosis("credentials", "good", f"{identity['Arn']} may use SageMaker in {source.sagemaker.region}")


def _alerts(source: Settings) -> Iterator[Diagnosis]:
    channels = channels_of(source.alerts)
    usable = []
    for channel in channels:
        try:
            if isinstance(channel, AppriseChannel):
                channel.service()
        except DeliveryError as problem:
            remedy = "correct the URL in M5_ALERTS_URLS, see docs/operations.md"
            yield Diagnosis("alerts", "wrong", f"{channel.name}: {problem}", remedy)
        else:
            usable.append(channel.name)
    if len(channels) == 1:
        yield Diagnosis("alerts", "note", "alerts go to the log only", "set M5_ALERTS_URLS, see docs/operations.md")
    elif len(usable) == len(channels):
        yield Diagnosis("alerts", "good", f"alerts go to {', '.join(usable)}")


def _dagster(source: Settings) -> Iterator[Diagnosis]:
    with dg.DagsterInstance.get() as instance:
        yield from _daemons(instance)
        on = {
            s.instigator_name
            for s in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
            if s.is_running
        }
        if "weekly" in on:
            yield Diagnosis("schedules", "good", f"running: {', '.join(sorted(on))}")
        else:
            yield Diagnosis("schedules", "note", "the schedule weekly is off", "turn it on in the UI under Automation")
        places = instance.event_log_storage.get_concurrency_info(HEAVY).slot_count
        if places > source.heavy_jobs:
            remedy = f"`dagster instance concurrency set {HEAVY} {source.heavy_jobs}`"
            yield Diagnosis(
                "pools", "wrong", f"{places} heavy jobs may run at once, but M5_HEAVY_JOBS={source.heavy_jobs}", remedy
            )


def _daemons(instance: dg.DagsterInstance) -> Iterator[Diagnosis]:
    statuses = instance.get_daemon_statuses()  # by heartbeats alone: a daemon that reports errors counts as healthy
    dead = sorted(
        name
        for name, status in statuses.items()
        if not status.healthy or (status.last_heartbeat and status.last_heartbeat.errors)
    )
    if dead:
        text_ = f"no recent heartbeat: {', '.join(name.lower() for name in dead)}"
        yield Diagnosis("daemon", "wrong", text_, "start it: `m5 ui`, or the service that runs dagster-daemon")
    else:
        yield Diagnosis("daemon", "good", f"{len(statuses)} daemons have a recent heartbeat")


def _ports(_: Settings) -> Iterator[Diagnosis]:
    for port, command, path in ((3000, "m5 ui", "/server_info"), (8050, "m5 dashboard", url("dashboard.css"))):
        with socket.socket() as probe:
            probe.settimeout(_PATIENCE_SECONDS)
            if probe.connect_ex(("127.0.0.1", port)):
                continue  # free
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=_PATIENCE_SECONDS) as answer:
                ours = answer.status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            ours = False
        if ours:
            yield Diagnosis("ports", "good", f"{command} answers on port {port}")
        else:
            yield Diagnosis("ports", "note", f"port {port} is taken by another program", f"start `{command} --port …`")
