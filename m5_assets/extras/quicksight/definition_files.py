"""The definitions of `infrastructure/quicksight`: requests of QuickSight's API as JSON, with placeholders.

A placeholder is `${name}`; `places` returns their values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import boto3

from m5_assets.errors import UserError
from m5_assets.settings import QuickSightSettings

Request: TypeAlias = dict[str, Any]

_PLACE = re.compile(r"\$\{([a-z_.]+)\}")
_EXCEPTIONS = "exceptions.sql"


@dataclass(frozen=True)
class DataSet:
    """A data set, and the tables whose loads change what it shows.

    Attributes:
        name: the name of its file, and of its id after the prefix.
        newest: tables of which it shows the newest week.
        all_weeks: tables of which it shows every week.
    """

    name: str
    newest: tuple[str, ...] = ()
    all_weeks: tuple[str, ...] = ()


DATA_SETS = (
    DataSet("forecast", newest=("forecast",)),
    DataSet("outlook", newest=("series_outlook",)),
    DataSet("exceptions", newest=("series_outlook",)),
    DataSet("store-dept", newest=("store_dept_forecast",), all_weeks=("store_dept_sales",)),
    DataSet("accuracy", all_weeks=("accuracy",)),
    DataSet("aggregate-accuracy", all_weeks=("aggregate_accuracy",)),
    DataSet(
        "freshness",
        newest=("forecast", "sales", "series_outlook", "store_dept_forecast", "store_dept_sales"),
        all_weeks=("accuracy", "aggregate_accuracy", "calendar"),
    ),
)


@dataclass(frozen=True)
class Definitions:
    """Everything that `m5 quicksight apply` publishes, as requests without `AwsAccountId`.

    Attributes:
        data_source: the request of CreateDataSource.
        data_sets: the requests of CreateDataSet by name, in the order of `DATA_SETS`.
        dashboard: the request of CreateDashboard.
    """

    data_source: Request
    data_sets: Mapping[str, Request]
    dashboard: Request


def data_set_id(prefix: str, data_set: DataSet) -> str:
    """Return the id of a data set; it begins with the prefix, as the orchestrator's role requires."""
    return f"{prefix}-{data_set.name}"


def places(source: QuickSightSettings, folder: Path) -> dict[str, str | int]:
    """Return the values of the placeholders by name.

    Raises:
        UserError: settings are missing; the message names all of them.
    """
    needed = ("account_id", "database_host", "secret_arn", "owners")
    if missing := [f"M5_QUICKSIGHT_{name.upper()}" for name in needed if not getattr(source, name)]:
        raise UserError(f"QuickSight needs the settings {', '.join(missing)}: docs/quicksight.md")
    partition = boto3.Session().get_partition_for_region(source.region)
    return {
        "arn": f"arn:{partition}:quicksight:{source.region}:{source.account_id}",
        "prefix": source.prefix,
        "secret_arn": source.secret_arn,
        "database_host": source.database_host,
        "database_port": source.database_port,
        "database_name": source.database_name,
        _EXCEPTIONS: (folder / _EXCEPTIONS).read_text(),
    }


def read_definitions(folder: Path, source: QuickSightSettings) -> Definitions:
    """Return the definitions with the settings filled in.

    Args:
        folder: `infrastructure/quicksight` of a checkout.
        source: the account, region, prefix and database.

    Raises:
        UserError: a setting or a file is missing, or a file cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: run m5 quicksight from a checkout")
    given = places(source, folder)
    data_source = _read(folder / "data-source.json", given)
    if source.vpc_connection_arn:
        data_source["VpcConnectionProperties"] = {"VpcConnectionArn": source.vpc_connection_arn}
    data_sets = {d.name: _read(folder / "data-sets" / f"{d.name}.json", given) for d in DATA_SETS}
    return Definitions(data_source, data_sets, _read(folder / "dashboard.json", given))


def columns(data_set: Request) -> dict[str, str]:
    """Return the columns of a data set that a dashboard may use: name to type."""
    return {
        column["Name"]: column["Type"]
        for table in data_set["PhysicalTableMap"].values()
        for source in table.values()
        for column in source.get("InputColumns", source.get("Columns", []))
    }


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value inside a request with its path, such as `Definition.Sheets[0].SheetId`."""
    yield path, value
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from walk(item, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, f"{path}[{index}]")


def _read(path: Path, given: Mapping[str, str | int]) -> Request:
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    try:
        found: Request = _filled(json.loads(text), given)
    except json.JSONDecodeError as problem:
        raise UserError(f"{path}: line {problem.lineno}, column {problem.colno}: {problem.msg}") from None
    except KeyError as problem:
        raise UserError(f"{path}: ${{{problem.args[0]}}} is none of {', '.join(given)}") from None
    return found


def _filled(value: Any, given: Mapping[str, str | int]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, given) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, given) for item in value]
    if not isinstance(value, str):
        return value
    if whole := _PLACE.fullmatch(value):  # a number stays a number
        return given[whole[1]]
    return _PLACE.sub(lambda place: str(given[place[1]]), value)
