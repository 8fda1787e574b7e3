"""Forecasts of the store-departments' daily totals from their long history.

Totals are far easier to forecast than items and often have a far longer history; item forecasts are then aligned to
them (`m5_assets.forecasting.alignment`). Import from the modules, as only `model` and `trees` need LightGBM.
"""
