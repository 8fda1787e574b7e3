"""Settings of every test process."""

import os

# A user's own settings must not reach the tests: only M5_SHARED, the folder of the real data, is theirs to give.
for _name in [n for n in os.environ if n.startswith(("M5_", "DAGSTER_HOME")) and n != "M5_SHARED"]:
    del os.environ[_name]

# As the jobs' programs do (see m5_assets.containers): the suite runs on both cores, and spinning threads stall it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
