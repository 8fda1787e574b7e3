"""The definitions' tests read the views of a real PostgreSQL."""

from m5_assets_tests.resources.conftest import database, engine, postgres_home

__all__ = ["database", "engine", "postgres_home"]
