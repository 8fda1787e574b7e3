"""The asset checks, in modules named like the assets' modules; `recording` runs them and records what they find.

Each module has functions that turn tables and arrays into a `Finding`; at its end they are bound to the assets. A
failed blocking check stops everything downstream for that week, so the dashboards keep the last good forecast.
"""

from m5_assets.checks import accuracy, ensemble, ensemble_weights, features, landing, models, predictions, rds

STAGES = (landing, features, models, predictions, ensemble_weights, ensemble, accuracy, rds)

__all__ = ["STAGES"]
