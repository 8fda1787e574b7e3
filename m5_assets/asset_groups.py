"""The groups of the assets, in the order of the data; numbered, because Dagster's pages sort them by name."""

from __future__ import annotations

LANDING = "1_landing"
FEATURES = "2_features"
MODELS = "3_models"
PREDICTIONS = "4_predictions"
FORECAST = "5_forecast"
ACCURACY = "6_accuracy"
RDS = "7_rds"
DASHBOARDS = "8_dashboards"

GROUPS = (LANDING, FEATURES, MODELS, PREDICTIONS, FORECAST, ACCURACY, RDS, DASHBOARDS)

# Dagster's UI shows groups collapsed unless its address names them. `global@global` is its name for all code locations.
LINEAGE_PATH = "/asset-groups?expanded=" + ",".join(f"global@global:{group}" for group in GROUPS)
"""The page of Dagster's UI with the whole graph, all groups open."""
