-- Run once, when the volume is new: Dagster's own database beside the forecasts' (POSTGRES_DB).
CREATE DATABASE dagster;
