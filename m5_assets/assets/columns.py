"""What every column of the assets' tables means: the schema that Dagster shows, before anything is built.

A materialization adds the types; Dagster's UI takes the descriptions from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources

import dagster as dg
from sqlalchemy import Table

from m5_assets.model_specs import AVERAGE, ENSEMBLE, FORECASTS, MEMBERS, TOTALS
from m5_assets.resources.postgres import schema

_MEANING = {
    "item_id": "item, e.g. FOODS_3_090",
    "dept_id": "department, e.g. FOODS_3",
    "cat_id": "category, e.g. FOODS",
    "store_id": "store, e.g. CA_1",
    "state_id": "state, e.g. CA",
    "series_id": "number of the item in the store, see table series",
    "date": "the day",
    "week": "first day of the forecast week",
    "units": "units of the day: sold, or forecast in a model's predictions",
    "wm_yr_wk": "Walmart's week, Saturday to Friday",
    "sell_price": "price of the item in the store, in the currency of the file; empty: not on offer",
    "d": "number of the day, 1 is the competition's first",
    "event_name_1": "first event of the day; empty: none",
    "event_type_1": "type of the first event, e.g. National",
    "event_name_2": "second event of the day; empty: none",
    "event_type_2": "type of the second event",
    **{member.name: f"forecast of the {member.label}, units a day" for member in MEMBERS},
    AVERAGE: "weighted average of the members, not aligned to the totals, units a day",
    ENSEMBLE: "the forecast to use: the average aligned to the totals, units a day",
    "totals": "the totals model's own forecast, units a day",
    **{f"{member.name}_28": f"forecast of the {member.label}, sum of 28 days, units" for member in MEMBERS},
    **{f"{member.name}_weight": f"the {member.label}'s share in the average, 0 to 1" for member in MEMBERS[1:]},
    "alignment": "strength of the alignment to the totals, 0 (none) to 1 (full)",
    "model": "whose forecast",
    "level": "level of aggregation, 1 (total) to 12 (item in a store); 0: the mean of the twelve",
    "name": "name of the level, e.g. store x category",
    "horizon_week": "week of the horizon, 1 to 4; 0: all 28 days",
    "wrmsse": "weighted root mean squared scaled error, the competition's measure; 0 is perfect",
    "rmsse": "root mean squared scaled error; empty: nothing changed before the origin",
    "mae": "mean absolute error, units a day",
    "bias": "units forecast over units sold, less 1; empty: nothing sold",
    "weight": "the group's share of the revenue of the 28 days up to the origin, a twelfth per level",
    "forecast_28": "the forecast to use, sum of 28 days, units",
    "last_28": "units sold in the 28 days up to the origin",
    "previous_28": "units sold in the 28 days before those",
    "last_year_28": "units sold 364 days before the days of the forecast; empty: not known",
    "zero_days": "days without a sale up to the origin",
    "nonzero_share_91": "share of the 91 days up to the origin with a sale",
    "usual_28": "mean units in 28 days, over the last 91 days or since the item is on offer",
    "next_price": "first price of the 28 days that differs from that at the origin; empty: none",
    "next_price_date": "day from which the next price is in force; empty: none",
    "first_sale": "first day with a sale, as far as the forecast looked back; empty: none",
}
_SERIES = ("item_id", "dept_id", "cat_id", "store_id", "state_id")
_GROUPS = ("store_id", "dept_id", "cat_id", "state_id")
_IN_LAKE: Mapping[str, Sequence[str]] = {
    "raw_sales": (*_SERIES, "date", "units"),
    "store_dept_sales": (*_GROUPS, "date", "units"),
    "sell_prices": ("store_id", "item_id", "wm_yr_wk", "sell_price"),
    "calendar": ("date", "wm_yr_wk", "d", "event_name_1", "event_type_1", "event_name_2", "event_type_2"),
    **{member.predictions: (*_SERIES, "date", "units") for member in MEMBERS},
    TOTALS.predictions: ("store_id", "dept_id", "date", "units"),
    "ensemble_weights": ("week", *(f"{member.name}_weight" for member in MEMBERS[1:]), "alignment", "wrmsse"),
    "ensemble_forecast": (*_SERIES, "date", *FORECASTS),
    "forecast_accuracy": ("model", "level", "name", "horizon_week", "wrmsse", "rmsse", "mae", "bias"),
}
_IN_POSTGRES = (
    *(schema.calendar, schema.sales, schema.forecast, schema.series_outlook, schema.store_dept_sales),
    *(schema.store_dept_forecast, schema.accuracy, schema.aggregate_accuracy),
)


def column_schemas() -> dict[str, dg.TableSchema]:
    """Return the columns of each asset that is a table, by the asset's name."""
    found = {name: dg.TableSchema([_column(column) for column in columns]) for name, columns in _IN_LAKE.items()}
    snap = dg.TableColumn("snap_<state_id>", description="SNAP benefits may be used that day; one column per state")
    found["calendar"] = dg.TableSchema([*found["calendar"].columns, snap])
    return found | {"features": _features()} | {f"rds_{table.name}": _stored(table) for table in _IN_POSTGRES}


def _column(name: str, kind: str = "") -> dg.TableColumn:
    return dg.TableColumn(name, kind or "string", description=_MEANING[name])


def _stored(table: Table) -> dg.TableSchema:
    return dg.TableSchema([_column(column.name, str(column.type).lower()) for column in table.columns])


def _features() -> dg.TableSchema:
    """Return the keys and the catalogue of the features.

    The catalogue is a copy of `m5 features --json`: importing the features themselves would import Numba.
    """
    text = resources.files(__package__).joinpath("feature_catalogue.json").read_text(encoding="utf-8")
    columns = [_column(name) for name in (*_SERIES, "date")]
    for each in json.loads(text):
        known = "the origin" if each["known_from"] == "origin" else "28 days ahead"
        used = "; used by the GBM" if each["used_by_gbm"] else ""
        columns.append(
            dg.TableColumn(
                each["name"],
                "float",
                description=f"{each['definition']} ({each['unit']}; known from {known}{used})",
                tags={"family": each["family"]},
            )
        )
    return dg.TableSchema(columns)
