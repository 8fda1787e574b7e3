"""SPICE ingestions: they refresh QuickSight's copy of the views after a load.

An ingestion's id names its content: the newest week and a hash of the loads that its data set shows. After a crash, or
in another run, the same id finds the ingestion. It is reused unless it failed or dropped rows; then the next one has a
number at its end. The orchestrator's role allows CreateIngestion and DescribeIngestion only.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import Engine, select

from m5_assets.extras.quicksight.definition_files import DATA_SETS, DataSet, Request, data_set_id
from m5_assets.extras.quicksight.quicksight_api import QuickSight, QuickSightError, Refused
from m5_assets.resources.postgres import schema

_log = logging.getLogger(__name__)

_ENDS = {"COMPLETED", "FAILED", "CANCELLED"}
_SPOILT = {"FAILED", "CANCELLED"}
_HASH_DIGITS = 16
_REMEDIES = {
    "ResourceNotFoundException": "m5 quicksight apply creates the data sets",
    "LimitExceededException": "QuickSight accepts 32 ingestions per data set in 24 hours (Standard edition: 8); the "
    "tables are loaded: materialize quicksight_refresh of the newest week later",
}


class _NotStarted(QuickSightError):
    """One data set cannot be refreshed now; the others may."""


@dataclass(frozen=True)
class Load:
    """The last load of a week into a table, from `m5.load_log`."""

    table: str
    week: str
    load_id: int
    sha256: str


@dataclass(frozen=True)
class Ingestion:
    """An ingestion that completed.

    Attributes:
        data_set_id: the data set it refreshed.
        ingestion_id: its id.
        adopted: whether it existed already.
        rows: rows ingested.
        seconds: its duration, as QuickSight reports it.
        link: the data set in the console.
    """

    data_set_id: str
    ingestion_id: str
    adopted: bool
    rows: int
    seconds: int
    link: str


def read_loads(engine: Engine) -> list[Load]:
    """Return the last load of each table and week."""
    log = schema.load_log.c
    query = select(log.table_name, log.week, log.load_id, log.sha256).order_by(log.load_id)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    loads = [Load(table, str(week or ""), load_id, sha256) for table, week, load_id, sha256 in rows]
    return list({(load.table, load.week): load for load in loads}.values())


def ingestion_id(data_set: DataSet, loads: Sequence[Load]) -> str | None:
    """Return the id of the ingestion that shows these loads; None if the data set shows none of them.

    The load ids are part of the hash, so that content which returns to an earlier state is ingested again.
    """
    shown = sorted(_shown(data_set, loads), key=lambda load: (load.table, load.week))
    if not shown:
        return None
    content = "\n".join(f"{load.table} {load.week} {load.load_id} {load.sha256}" for load in shown)
    digest = hashlib.sha256(content.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{max(load.week for load in shown)}-{digest}"


def refresh(service: QuickSight, loads: Sequence[Load]) -> Iterator[Ingestion]:
    """Start an ingestion for every data set that shows any of the loads, then wait for all of them.

    They run at the same time; a failure does not stop the wait for the others.

    Raises:
        QuickSightError: ingestions failed; the message gives each one's error and the rows that were dropped.
    """
    begun, failures = [], []
    for data_set in DATA_SETS:
        wanted, name = ingestion_id(data_set, loads), data_set_id(service.prefix, data_set)
        if wanted is None:
            continue
        try:
            begun.append((name, *_begin(service, name, wanted)))
        except _NotStarted as problem:
            failures.append(f"- {name}: {problem}")
    for name, key, adopted in begun:
        found = _wait(service, name, key)
        if _is_spoilt(found):
            failures.append(_told(name, found))
            continue
        link = f"https://{service.region}.quicksight.aws.amazon.com/sn/data-sets/{name}"
        rows, seconds = found.get("RowInfo", {}).get("RowsIngested", 0), found.get("IngestionTimeInSeconds", 0)
        yield Ingestion(name, key, adopted, rows, seconds, link)
    if failures:
        raise QuickSightError(f"{len(failures)} data sets were not refreshed:\n" + "\n".join(failures))


def _shown(data_set: DataSet, loads: Iterable[Load]) -> Iterator[Load]:
    loads = list(loads)
    for table in data_set.all_weeks:
        yield from (load for load in loads if load.table == table)
    for table in data_set.newest:
        of_table = [load for load in loads if load.table == table]
        if of_table:
            yield max(of_table, key=lambda load: load.week)


def _begin(service: QuickSight, data_set: str, wanted: str) -> tuple[str, bool]:
    """Return the id of the ingestion to wait for, and whether it existed before."""
    for attempt in count(1):
        key = wanted if attempt == 1 else f"{wanted}-{attempt}"
        names = {"DataSetId": data_set, "IngestionId": key}
        there = service.find("DescribeIngestion", **names)
        if there is None:
            if _create(service, names):
                return key, False
            there = service.call("DescribeIngestion", **names)  # another run was faster, or an answer was lost
        if not _is_spoilt(there["Ingestion"]):
            _log.info("%s: ingestion %s exists already", data_set, key)
            return key, True
    raise AssertionError  # count() does not end


def _is_spoilt(found: Request) -> bool:
    """Return whether an ingestion failed, or completed without some of the rows."""
    return found["IngestionStatus"] in _SPOILT or bool(found.get("RowInfo", {}).get("RowsDropped"))


def _create(service: QuickSight, names: dict[str, str]) -> bool:
    """Create an ingestion; return False if one with this id exists."""
    try:
        service.call("CreateIngestion", **names, IngestionType="FULL_REFRESH")
    except Refused as problem:
        if problem.code == "ResourceExistsException":
            return False
        remedy = _REMEDIES.get(problem.code)
        if remedy is None:
            raise
        raise _NotStarted(f"{problem}; {remedy}") from problem
    return True


def _wait(service: QuickSight, data_set: str, key: str) -> Request:
    def look() -> Request:
        found: Request = service.call("DescribeIngestion", DataSetId=data_set, IngestionId=key)["Ingestion"]
        return found

    return service.wait(f"{data_set}: ingestion {key}", look, lambda found: str(found["IngestionStatus"]), _ENDS)


def _told(data_set: str, found: dict[str, Any]) -> str:
    error, rows = found.get("ErrorInfo", {}), found.get("RowInfo", {})
    reason = f"{error.get('Type', 'no error type')}: {error.get('Message', 'no message')}"
    dropped = (
        f"; {rows['RowsDropped']} rows dropped, {rows.get('RowsIngested', 0)} ingested" if "RowsDropped" in rows else ""
    )
    return f"- {data_set}, {found['IngestionId']}: {found['IngestionStatus']}, {reason}{dropped}"
