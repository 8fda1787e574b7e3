"""The dashboard's read access to the database."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from m5_assets.dashboard.database import SuperuserLogin, reading
from m5_assets_tests.resources.conftest import new_home, superuser_of
from m5_assets_tests.support.dashboard_data import (
    Business,
)


def test_pages_have_read_only_access(engine: Engine, business: Business) -> None:
    with pytest.raises(Exception, match="read-only transaction"), reading(lambda: engine) as reader:
        reader.frame("DELETE FROM m5.load_log RETURNING load_id")
    with reading(lambda: engine) as reader:
        assert reader.value("SELECT session_user") == "m5_reader"
        assert reader.value("SELECT current_user") == "m5_reader"
        assert reader.value("SELECT has_table_privilege('m5.load_log', 'INSERT')") is False
        assert reader.value("SELECT has_table_privilege('m5.load_log', 'SELECT')") is True


def test_a_superuser_is_not_used_to_read() -> None:
    """It could leave the reader role again, and run programs."""
    with new_home() as home:
        superuser = superuser_of(home)
        refused = pytest.raises(SuperuserLogin, match="M5_DATABASE_READER_PASSWORD")
        with refused, reading(lambda: superuser):
            pass
        superuser.dispose()


def test_a_faulty_query_is_not_reported_as_a_missing_database(engine: Engine, business: Business) -> None:
    with pytest.raises(ProgrammingError), reading(lambda: engine) as reader:
        reader.frame("SELECT 1 +")
