"""The programs that run inside SageMaker jobs: they read inputs, call `forecasting` and write results."""

import os

# Threads of OpenMP that wait by spinning stall each other as soon as two jobs share the cores: LightGBM then took forty
# times as long. Set before any library that brings OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
