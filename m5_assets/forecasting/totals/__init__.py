"""Forecasts of the store-departments' daily totals from their long history.

Totals are far easier to forecast than items, and often known for far longer; items are then aligned to them
(`m5_assets.forecasting.alignment`). Here: the history (`history`), its regressors (`calendar`) and features
(`features`), the members (`ridge`, `trees`), the model that is trained and saved (`model`). Not here: the items' own
models. Import from the modules: only `model` and `trees` need LightGBM.
"""
