"""Features of a series, a target day and a horizon, as known at the origin; one module per family of features."""

from m5_assets.forecasting.features.base import Feature, Rows
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.group_totals import Aggregates
from m5_assets.forecasting.features.io import KEY_COLUMNS, horizon_table, read_horizon, write_horizon
from m5_assets.forecasting.features.registry import CATALOGUE, MODEL_FEATURES, NAMES, compute

__all__ = [
    "CATALOGUE",
    "KEY_COLUMNS",
    "MODEL_FEATURES",
    "NAMES",
    "Aggregates",
    "Context",
    "Feature",
    "Rows",
    "compute",
    "horizon_table",
    "read_horizon",
    "write_horizon",
]
