"""What the platform makes, one module a stage, in the order of the data.

landing -> features -> models -> predictions -> ensemble -> rds, and accuracy once the sales are known.
"""

import warnings

import dagster as dg

# Dagster is pinned to one version: what it calls beta cannot change under us, and its warnings would greet everyone.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
# The weekly job runs one week at a time; that raw weeks may also be loaded many at once is meant.
warnings.filterwarnings("ignore", message=".*varying BackfillPolicies", category=UserWarning)
