"""The platform's assets, one module per stage.

landing -> features -> models -> predictions -> ensemble_weights -> ensemble -> rds; accuracy once the sales are known.
"""

import warnings

import dagster as dg

# Dagster is pinned to one version, so its beta APIs cannot change under us; the warnings would only be noise.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
# The weekly job runs one week at a time; some of its assets can also load many weeks in one run. This is intended.
warnings.filterwarnings("ignore", message=".*varying BackfillPolicies", category=UserWarning)
