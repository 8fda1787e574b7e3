"""`m5 explain`: the factors behind a GBM forecast, in words; `m5_assets.forecasting.contributions` computes them."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from dagster_sagemaker.artifacts import unpack_model

from m5_assets.assets.models import model_file
from m5_assets.cli.parameters import WEEK
from m5_assets.errors import UserError
from m5_assets.forecasting.contributions import Explanation
from m5_assets.forecasting.contributions import explain as compute_contributions
from m5_assets.forecasting.features import CATALOGUE
from m5_assets.forecasting.file_names import key_of
from m5_assets.forecasting.gbm.model import GBMModel
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import MissingInput
from m5_assets.settings import settings
from m5_assets.weeks import Week

STRONGEST = 8
"""How many features are named."""


@click.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week that was forecast, e.g. 2016-05-16.")
@click.option("--item", required=True, help="E.g. FOODS_3_090.")
@click.option("--store", required=True, help="E.g. CA_3.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="One of the 28 days; default: the mean of all.")
def explain(week: Week, item: str, store: str, date: dt.datetime | None) -> None:
    """Explain the GBM's forecast of one item in one store.

    Prints the factor of each feature family and the strongest features.
    """
    try:
        click.echo(explain_series(Lake(root=settings().lake), week, item, store, date.date() if date else None))
    except MissingInput as problem:
        raise UserError(problem.description) from problem


def explain_series(lake: Lake, week: Week, item: str, store: str, date: dt.date | None) -> str:
    """Return the factors behind the GBM's forecast of a series, on one day or over the 28 days.

    Over several days a factor is the geometric mean, without the days on which nothing can be sold (closed stores, days
    before the release).

    Args:
        lake: holds the week's features and model.
        week: the forecast week.
        item: an item_id.
        store: a store_id.
        date: one of the 28 days after the week's origin; None for all of them.

    Raises:
        MissingInput: the week has no features or no model.
        UserError: the store, the item or the day is not in the forecast.
    """
    table = _rows(lake, week, item, store)
    days = [day.isoformat() for day in table["date"].to_pylist()]
    if date is not None:
        if date.isoformat() not in days:
            raise UserError(f"{date} is not in the forecast of week {week}: its days are {days[0]} to {days[-1]}")
        table = table.slice(days.index(date.isoformat()), 1)
    found = compute_contributions(read_model(lake, week), table)
    when = f"on {date}" if date else f"a day, mean of {days[0]} to {days[-1]}"
    head = f"{item} in {store}: the GBM of week {week} forecasts {found.units.mean():.2f} units {when}."
    sells = found.units > 0
    if not sells.any():
        return f"{head}\nNothing can be sold: the store is closed, or the item is not released yet."
    return f"{head}\n{_factors(found, sells, one_day=date is not None)}"


def read_model(lake: Lake, week: Week) -> GBMModel:
    """Return the GBM in force for the week."""
    manifest = lake.get("gbm_model", week.key, remedy=f"run `m5 forecast --week {week}`")
    with tempfile.TemporaryDirectory() as folder:
        archive, model = Path(folder, "model.tar.gz"), Path(folder, "model")
        with lake.open(model_file(manifest)) as stream:
            archive.write_bytes(stream.read())
        unpack_model(archive, model)
        return GBMModel.load(model)


def _rows(lake: Lake, week: Week, item: str, store: str) -> pa.Table:
    """Return the 28 rows of the series in the week's features."""
    files = lake.get("features", week.key, remedy=f"run `m5 forecast --week {week}`").under("horizon")
    stores = {key_of(Path(file.key).stem): file for file in files}
    if store not in stores:
        raise UserError(f"store {store!r} is not in the forecast of week {week}; its stores are {', '.join(stores)}")
    table = lake.read_table(stores[store])
    table = table.filter(pc.equal(table["item_id"].cast(pa.string()), item))
    if not table.num_rows:
        raise UserError(f"item {item!r} is not in store {store} in week {week}; item ids look like FOODS_3_090")
    return table


def _factors(found: Explanation, sells: np.ndarray, *, one_day: bool) -> str:
    catalogue = {feature.name: feature for feature in CATALOGUE}
    logs = pd.Series(found.logs[sells].mean(axis=0), list(found.features))
    families = found.families()[sells].mean()
    base = float(np.exp(np.log(found.base[sells]).mean()))
    lines = [f"The GBM begins with {base:.2f} units, its mean over all series and days, and multiplies by, per family:"]
    for name, log in families.sort_values(key=np.abs, ascending=False).items():
        lines.append(f"  {name:<14} x {np.exp(log):5.2f}")
    lines.append("The strongest features:")
    values = dict(zip(found.features, found.values[sells].mean(axis=0), strict=True))
    for name, log in logs.sort_values(key=np.abs, ascending=False).head(STRONGEST).items():
        feature, verb = catalogue[str(name)], "raises" if log > 0 else "lowers"
        value = f" = {values[str(name)]:.4g}" if one_day or feature.unit != "code" else ""
        lines.append(f"  {name}{value} {verb} it x {np.exp(log):.2f}: {feature.definition} ({feature.unit})")
    return "\n".join(lines)
