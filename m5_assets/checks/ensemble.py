"""What must hold of a week's forecast before it reaches the database."""

import dagster as dg
import numpy as np

from m5_assets.assets.ensemble import MODELS, read_forecast
from m5_assets.resources.lake import Lake
from m5_assets.weeks import HORIZON_DAYS, WEEKS, Week


@dg.asset_check(
    asset="ensemble_forecast",
    partitions_def=WEEKS,
    blocking=True,
    description="Every series has its 28 days, and every model's forecast is finite and not negative.",
)
def forecast_is_complete(context: dg.AssetCheckExecutionContext, lake: Lake) -> dg.AssetCheckResult:
    """Look at every row of the week's forecast."""
    week = Week.parse(context.partition_key)
    table = read_forecast(lake, week)
    values = np.column_stack([table[model].to_numpy() for model in MODELS])
    bad = int((~np.isfinite(values) | (values < 0)).any(axis=1).sum())
    sales = lake.get("raw_sales", week.key)
    expected = sales.attributes["rows"] // 7 * HORIZON_DAYS
    return dg.AssetCheckResult(
        passed=not bad and table.num_rows == expected,
        metadata={"rows": table.num_rows, "rows_expected": expected, "rows_not_finite_or_negative": bad},
    )
