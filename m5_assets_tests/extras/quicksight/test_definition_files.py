"""The definitions of infrastructure/quicksight: right by themselves, and right for the database."""

from __future__ import annotations

import copy
import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Connection, Engine, text

from m5_assets.dashboard import exception_rules
from m5_assets.errors import UserError
from m5_assets.extras.quicksight.definition_files import DATA_SETS, Definitions, columns, read_definitions, walk
from m5_assets.extras.quicksight.definition_rules import GRID_COLUMNS, check, problems
from m5_assets.settings import QuickSightSettings
from m5_assets_tests.support import dashboard_data
from m5_assets_tests.support.quicksight_service import account_settings

FOLDER = Path(__file__).parents[3] / "infrastructure" / "quicksight"
TYPES = {
    "date": "DATETIME", "timestamp with time zone": "DATETIME", "text": "STRING", "real": "DECIMAL",
    "double precision": "DECIMAL", "smallint": "INTEGER", "integer": "INTEGER", "bigint": "INTEGER",
}  # fmt: skip
ORIGIN = dt.date(2016, 5, 22)


@pytest.fixture
def definitions() -> Definitions:
    return read_definitions(FOLDER, account_settings())


def sheet_of(found: Definitions, name: str) -> dict[str, Any]:
    sheet: dict[str, Any] = next(s for s in found.dashboard["Definition"]["Sheets"] if s["SheetId"] == name)
    return sheet


def grid_of(found: Definitions, name: str) -> list[dict[str, Any]]:
    elements: list[dict[str, Any]] = sheet_of(found, name)["Layouts"][0]["Configuration"]["GridLayout"]["Elements"]
    return elements


def test_what_is_in_the_repository_is_right(definitions: Definitions) -> None:
    assert list(problems(definitions)) == []
    names = [sheet["Name"] for sheet in definitions.dashboard["Definition"]["Sheets"]]
    assert names == ["Overview", "Explore", "Exceptions", "Accuracy"]
    files = {path.stem for path in (FOLDER / "data-sets").iterdir()}
    assert files == {data_set.name for data_set in DATA_SETS}
    ids = [request["DataSetId"] for request in definitions.data_sets.values()]
    assert ids == [f"m5-{data_set.name}" for data_set in DATA_SETS]
    assert all(isinstance(value, str) is False or "${" not in value for _, value in walk(definitions.dashboard))


def test_every_visual_says_in_words_what_it_shows(definitions: Definitions) -> None:
    visuals = [v for s in definitions.dashboard["Definition"]["Sheets"] for each in s["Visuals"] for v in each.values()]
    assert len(visuals) == 25
    assert all(visual["VisualContentAltText"] and visual["Title"]["FormatText"]["PlainText"] for visual in visuals)


def _unknown_column(found: Definitions) -> None:
    sheet_of(found, "overview")["Visuals"][0]["KPIVisual"]["ChartConfiguration"]["FieldWells"]["Values"][0][
        "NumericalMeasureField"
    ]["Column"]["ColumnName"] = "forecast_29"


def _wrong_type(found: Definitions) -> None:
    sheet_of(found, "overview")["Visuals"][0]["KPIVisual"]["ChartConfiguration"]["FieldWells"]["Values"][0][
        "NumericalMeasureField"
    ]["Column"]["ColumnName"] = "item_id"


def _enumeration(found: Definitions) -> None:
    sheet_of(found, "overview")["Visuals"][3]["BarChartVisual"]["ChartConfiguration"]["Orientation"] = "SIDEWAYS"


def _pattern(found: Definitions) -> None:
    found.dashboard["DashboardId"] = "m5 forecasts"


def _maximum(found: Definitions) -> None:
    sheet_of(found, "overview")["Visuals"][0]["KPIVisual"]["Title"]["FormatText"]["PlainText"] = "x" * 1025


def _beyond_the_model(found: Definitions) -> None:
    grid_of(found, "overview")[0]["ColumnSpan"] = GRID_COLUMNS + 1


def _beyond_the_grid(found: Definitions) -> None:
    grid_of(found, "overview")[2]["ColumnSpan"] = 13


def _two_of_a_union(found: Definitions) -> None:
    visual = sheet_of(found, "overview")["Visuals"][0]
    visual["EmptyVisual"] = {"VisualId": "another", "DataSetIdentifier": "outlook"}


def _visual_twice(found: Definitions) -> None:
    sheet_of(found, "explore")["Visuals"][0]["LineChartVisual"]["VisualId"] = "overview-units"


def _not_placed(found: Definitions) -> None:
    grid_of(found, "accuracy").pop()


def _overlapping(found: Definitions) -> None:
    grid_of(found, "accuracy")[1]["ColumnIndex"] = 17


def _no_such_filter(found: Definitions) -> None:
    sheet_of(found, "explore")["FilterControls"][0]["Dropdown"]["SourceFilterId"] = "explore-planet-filter"


def _no_such_visual_in_scope(found: Definitions) -> None:
    group = found.dashboard["Definition"]["FilterGroups"][0]["ScopeConfiguration"]["SelectedSheets"]
    group["SheetVisualScopingConfigurations"][0]["VisualIds"].append("explore-models")


def _no_such_data_set(found: Definitions) -> None:
    found.dashboard["Definition"]["DataSetIdentifierDeclarations"][0]["DataSetArn"] += "s"


def _filter_without_effect(found: Definitions) -> None:
    groups = found.dashboard["Definition"]["FilterGroups"]
    group = next(g for g in groups if g["FilterGroupId"] == "explore-store-id-group")
    group["CrossDataset"] = "SINGLE_DATASET"


def _sorted_by_nothing(found: Definitions) -> None:
    table = sheet_of(found, "exceptions")["Visuals"][-1]["TableVisual"]["ChartConfiguration"]
    table["SortConfiguration"]["RowSort"][0]["FieldSort"]["FieldId"] = "exceptions-list.dollars"


def _formula_of_nothing(found: Definitions) -> None:
    found.dashboard["Definition"]["CalculatedFields"][0]["Expression"] = "{forecast_28} * {price}"


def _description_of_nothing(found: Definitions) -> None:
    transforms = found.data_sets["accuracy"]["LogicalTableMap"]["described"]["DataTransforms"]
    transforms[0]["TagColumnOperation"]["ColumnName"] = "wrmse"


def _port(found: Definitions) -> None:
    found.data_source["DataSourceParameters"]["PostgreSqlParameters"]["Port"] = 70000


def _other_source(found: Definitions) -> None:
    found.data_sets["accuracy"]["PhysicalTableMap"]["source"]["RelationalTable"]["DataSourceArn"] += "-old"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_unknown_column, ["dashboard.json", "NumericalMeasureField.Column", "outlook has no column forecast_29"]),
        (_wrong_type, ["NumericalMeasureField", "item_id is STRING"]),
        (_enumeration, ["Sheets[0].Visuals[3].BarChartVisual.ChartConfiguration.Orientation", "HORIZONTAL"]),
        (_pattern, ["DashboardId", "pattern"]),
        (_maximum, ["FormatText.PlainText", "maximum is"]),
        (_beyond_the_model, ["Elements[0].ColumnSpan", "maximum is 36"]),
        (_beyond_the_grid, ["overview-money ends beyond column 36"]),
        (_two_of_a_union, ["Sheets[0].Visuals[0]", "exactly one of", "KPIVisual"]),
        (_visual_twice, ["VisualId overview-units is used 2 times"]),
        (_not_placed, ["accuracy", "accuracy-worst has no place on the grid"]),
        (_overlapping, ["accuracy-weeks and accuracy-bias overlap"]),
        (_no_such_filter, ["no filter explore-planet-filter"]),
        (_no_such_visual_in_scope, ["FilterGroups[0]", "overview has no visual explore-models"]),
        (_no_such_data_set, ["DataSetIdentifierDeclarations[0]", "m5-outlooks"]),
        (_filter_without_effect, ["explore-history shows store-dept, which forecast.store_id does not filter"]),
        (_sorted_by_nothing, ["sorted by exceptions-list.dollars"]),
        (_formula_of_nothing, ["CalculatedFields[0] forecast_money: no column price in outlook"]),
        (_description_of_nothing, ["data-sets/accuracy.json", "no column wrmse"]),
        (_port, ["data-source.json", "Port", "maximum is 65535"]),
        (_other_source, ["data-sets/accuracy.json", "m5-database-old is not the data source m5-database"]),
    ],
)
def test_an_error_is_told_by_its_field(
    definitions: Definitions, spoil: Callable[[Definitions], None], words: list[str]
) -> None:
    spoilt = copy.deepcopy(definitions)
    spoil(spoilt)
    with pytest.raises(UserError) as problem:
        check(spoilt)
    for word in words:
        assert word in str(problem.value)


def test_settings_that_are_missing_are_all_named() -> None:
    with pytest.raises(UserError, match=r"M5_QUICKSIGHT_ACCOUNT_ID, .*HOST, .*SECRET_ARN, M5_QUICKSIGHT_OWNERS"):
        read_definitions(FOLDER, QuickSightSettings())


def test_settings_reach_the_requests() -> None:
    arn = "arn:aws:quicksight:eu-west-1:123456789012:vpcConnection/m5-dev"
    changed = account_settings(prefix="m5-dev", region="eu-west-1", vpc_connection_arn=arn, database_port=5433)
    found = read_definitions(FOLDER, changed)
    assert list(problems(found)) == []
    assert found.data_source["VpcConnectionProperties"] == {"VpcConnectionArn": arn}
    assert found.data_source["DataSourceParameters"]["PostgreSqlParameters"]["Port"] == 5433
    declared = found.dashboard["Definition"]["DataSetIdentifierDeclarations"][0]["DataSetArn"]
    assert declared == "arn:aws:quicksight:eu-west-1:123456789012:dataset/m5-dev-outlook"


def test_every_column_is_in_its_view(engine: Engine, definitions: Definitions) -> None:
    """The views that the migrations make, and that the dashboards' role may read."""
    shown = set()
    with engine.connect() as connection:
        for name, data_set in definitions.data_sets.items():
            source = data_set["PhysicalTableMap"]["source"]
            if "CustomSql" in source:
                # QuickSight, too, makes a subquery of it.
                query = source["CustomSql"]["SqlQuery"].replace("%", "%%")
                connection.exec_driver_sql(f"CREATE TEMP VIEW asked AS SELECT * FROM ({query}) AS it")  # noqa: S608  # ours
                assert _columns_of(connection, "pg_temp.asked") == columns(data_set), name
                continue
            view = source["RelationalTable"]["Name"]
            shown.add(view)
            assert _columns_of(connection, f"m5.{view}") == columns(data_set), name
            allowed = text("SELECT has_table_privilege('m5_reader', :view, 'SELECT')")
            assert connection.execute(allowed, {"view": f"m5.{view}"}).scalar_one()
        views = connection.execute(text("SELECT viewname FROM pg_views WHERE viewname LIKE 'bi!_%' ESCAPE '!'"))
        assert set(views.scalars()) == shown


def test_exceptions_are_those_of_the_dashboard(engine: Engine, definitions: Definitions) -> None:
    dashboard_data.fill(engine)
    with engine.connect() as connection:
        outlook = pd.DataFrame(connection.execute(text("SELECT * FROM m5.bi_outlook")).mappings().all())
        found = _read(connection, _exceptions(definitions))
    merged = _beside(found, exception_rules.exceptions(outlook, dashboard_data.NEWEST.origin))
    assert set(found["kind"]) == {kind.name for kind in exception_rules.KINDS.values()}
    assert merged["reason"].tolist() == merged["reason_local"].tolist()


def test_exceptions_of_any_outlook_are_those_of_the_dashboard(engine: Engine, definitions: Definitions) -> None:
    outlook = _any_outlook(4000)
    with engine.connect() as connection:
        connection.execute(text("CREATE TEMP TABLE outlook AS SELECT * FROM m5.bi_outlook"))
        names = ", ".join(outlook.columns)
        places = ", ".join(f":{name}" for name in outlook.columns)
        values = outlook.astype(object).where(outlook.notna(), None).to_numpy()
        rows = [dict(zip(outlook.columns, row, strict=True)) for row in values]
        connection.execute(text(f"INSERT INTO outlook ({names}) VALUES ({places})"), rows)  # noqa: S608  # names of the frame above
        stored = pd.DataFrame(connection.execute(text("SELECT * FROM outlook")).mappings().all())
        found = _read(connection, _exceptions(definitions).replace("m5.bi_outlook", "outlook"))
    merged = _beside(found, exception_rules.exceptions(stored, ORIGIN))
    assert merged["kind"].value_counts().min() > 20
    assert merged["reason"].str.contains("Dropped to zero").any()
    assert merged["reason"].str.contains("though nothing was sold").any()
    # A half is rounded up by the one and to even by the other, so a last digit may differ.
    assert merged["reason"].map(_words).tolist() == merged["reason_local"].map(_words).tolist()


def _words(reason: str) -> str:
    return re.sub(r"[\d,]+", "#", reason)


def _exceptions(definitions: Definitions) -> str:
    query: str = definitions.data_sets["exceptions"]["PhysicalTableMap"]["source"]["CustomSql"]["SqlQuery"]
    return query


def _read(connection: Connection, query: str) -> pd.DataFrame:
    result = connection.exec_driver_sql(query.replace("%", "%%"))
    return pd.DataFrame(result.all(), columns=list(result.keys()))


def _columns_of(connection: Connection, view: str) -> dict[str, str]:
    query = text(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(:view) AND attnum > 0 ORDER BY attnum"
    )
    return {name: TYPES[kind] for name, kind in connection.execute(query, {"view": view})}


def _beside(found: pd.DataFrame, local: pd.DataFrame) -> pd.DataFrame:
    """Join both lists, which must be of the same series and figures."""
    named = local.assign(kind=local["kind"].map({kind.key: kind.name for kind in exception_rules.KINDS.values()}))
    keys = ["kind", "item_id", "dept_id", "cat_id", "store_id", "state_id"]
    merged = found.merge(named, on=keys, how="outer", suffixes=("", "_local"), indicator=True)
    assert (merged["_merge"] == "both").all(), merged[merged["_merge"] != "both"].head()
    for name in ("units", "money"):
        np.testing.assert_allclose(merged[name].astype(float), merged[f"{name}_local"].astype(float), rtol=1e-5)
    return merged


def _any_outlook(count: int) -> pd.DataFrame:
    """Return rows with values on both sides of every threshold, and nulls where the view has some."""
    rng = np.random.default_rng(11)
    usual = rng.choice([0.0, 6.0, 20.0, 90.0, 400.0], count)
    price = np.where(rng.random(count) < 0.9, rng.integers(50, 2000, count) / 100, np.nan)
    forecast = np.round(usual * rng.choice([0.5, 1.0, 1.4, 1.7, 14.0], count) + rng.choice([0, 3, 40], count))
    ages = rng.integers(1, 400, count)
    change = rng.choice([np.nan, 0.9, 0.97, 1.02, 1.2], count)
    days = [None if lost else ORIGIN - dt.timedelta(days=int(age)) for lost, age in zip(usual == 0, ages, strict=True)]
    frame = pd.DataFrame(
        {
            "week": ORIGIN - dt.timedelta(days=6),
            "item_id": [f"FOODS_1_{number:04}" for number in range(count)],
            "dept_id": "FOODS_1",
            "cat_id": "FOODS",
            "store_id": "CA_1",
            "state_id": "CA",
            "forecast_28": forecast,
            "gbm_28": forecast * rng.choice([0.6, 1.0, 1.5], count),
            "lstm_28": forecast * rng.choice([0.6, 1.0, 1.5], count),
            "last_28": rng.integers(0, 500, count),
            "previous_28": 1,
            "zero_days": rng.choice([0, 5, 7, 12, 28, 60, 91, 120], count),
            "nonzero_share_91": rng.choice([0.0, 0.1, 0.4, 0.7, 1.0], count),
            "usual_28": usual,
            "sell_price": price,
            "next_price": np.round(price * change, 2),
            "next_price_date": ORIGIN + dt.timedelta(days=9),
            "first_sale": pd.Series(days, dtype=object),
        }
    )
    return frame
