"""What must hold of the assets, in modules of the same names; how a finding is recorded is in `recording`.

A module's functions take tables and arrays and return a `Finding`; at its end they are bound to their assets. A
blocking check keeps a bad week from what is made of it: the dashboards keep the forecast they show.
"""

from m5_assets.checks import accuracy, ensemble, ensemble_weights, features, landing, models, predictions, rds

STAGES = (landing, features, models, predictions, ensemble_weights, ensemble, accuracy, rds)

__all__ = ["STAGES"]
