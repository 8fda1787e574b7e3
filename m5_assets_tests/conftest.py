"""Settings of every test process."""

import os

# The user's own settings must not affect the tests, except for M5_SHARED, the folder of the real data.
for _name in [n for n in os.environ if n.startswith(("M5_", "DAGSTER_HOME")) and n != "M5_SHARED"]:
    del os.environ[_name]

# As in the jobs' programs (m5_assets.containers): spinning OpenMP threads stall a suite that uses all cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
