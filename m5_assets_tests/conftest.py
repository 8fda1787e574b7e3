"""Settings of every test process."""

import os

# As the jobs' programs do (see m5_assets.containers): the suite runs on both cores, and spinning threads stall it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
