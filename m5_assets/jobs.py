"""The jobs: what is run together. Not here: when (`schedules`), and the assets themselves (`assets`)."""

from __future__ import annotations

import dagster as dg

LANDING = dg.AssetSelection.groups("landing")
FORECAST = dg.AssetSelection.groups("features", "models", "predictions", "forecast")
RDS_HISTORY = dg.AssetSelection.assets("rds/calendar", "rds/sales", "rds/store_dept_sales")
RDS_FORECAST = dg.AssetSelection.assets("rds/forecast", "rds/series_outlook", "rds/store_dept_forecast")
ACCURACY = dg.AssetSelection.assets("forecast_accuracy", "rds/accuracy", "rds/aggregate_accuracy")

weekly_forecast = dg.define_asset_job(
    "weekly_forecast",
    selection=LANDING | FORECAST | RDS_HISTORY | RDS_FORECAST,
    description="A week from the landed files to PostgreSQL: its sales, features, models in force, forecasts, load.",
)
back_history = dg.define_asset_job(
    "back_history",
    selection=LANDING | RDS_HISTORY,
    description="Weeks of sales, prices and calendar from the landed files to the lake and PostgreSQL; all weeks in "
    "one run, in one pass.",
)
accuracy = dg.define_asset_job(
    "accuracy",
    selection=ACCURACY,
    description="The accuracy of a week's forecast, four weeks later, loaded to PostgreSQL.",
)

JOBS = [weekly_forecast, back_history, accuracy]
