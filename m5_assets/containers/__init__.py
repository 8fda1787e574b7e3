"""The programs that run inside SageMaker jobs: they read inputs, call `forecasting` and write results."""

import os

# OpenMP threads that spin while waiting block each other when two jobs share the cores: LightGBM took forty times as
# long. This must be set before any library that uses OpenMP is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
