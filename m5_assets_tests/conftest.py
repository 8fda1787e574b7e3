"""Settings of every test process."""

import os
import tempfile
from collections.abc import Iterator

import pytest

# The user's own settings must not affect the tests, except for M5_SHARED, the folder of the real data.
for _name in [n for n in os.environ if n.startswith(("M5_", "DAGSTER_HOME")) and n != "M5_SHARED"]:
    del os.environ[_name]
_HOME = tempfile.TemporaryDirectory(prefix="m5-tests-")  # nothing is landed there
os.environ["M5_HOME"] = _HOME.name

# As in the jobs' programs (m5_assets.containers): spinning OpenMP threads stall a suite that uses all cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(autouse=True)
def _no_instance_of_another_test() -> Iterator[None]:
    """Forget the instance of the last test: Dagster keeps it in a context variable when it loads definitions."""
    from m5_assets_tests.support.dagster_internals import set_defs_state_storage

    with set_defs_state_storage(None):
        yield
