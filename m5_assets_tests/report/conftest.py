"""The report's tests read the dashboard's sample database."""

from m5_assets_tests.dashboard.conftest import business, engine, loader, postgres

__all__ = ["business", "engine", "loader", "postgres"]
