"""The gradient-boosted forecaster: one LightGBM over all series, averaged with one per department.

`training.fit` trains a `model.GBMModel` on rows that `training_rows` draws. Import from the modules, as `config` does
not need LightGBM.
"""
