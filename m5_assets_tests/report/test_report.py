"""The week's report: one self-contained file, or none."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from m5_assets.errors import UserError
from m5_assets.report import write_report
from m5_assets.weeks import Week
from m5_assets_tests.support.dashboard_data import GONE, NEWEST, SCORED, Business


def test_the_report_is_complete_and_self_contained(engine: Engine, business: Business, tmp_path: Path) -> None:
    target = tmp_path / "new" / "week.html"
    size = write_report(lambda: engine, NEWEST, target)
    page = target.read_text()
    assert size == len(page.encode())
    assert "<script" not in page
    assert not re.search(r'(?:src|href|url)\s*[=(]\s*["\']?(?!data:)\w', page)
    pictures = re.findall(r'<img src="data:image/png;base64,([A-Za-z0-9+/=]+)" alt="[^"]{20,}">', page)
    assert len(pictures) == 2
    total = f"{business.forecast(NEWEST)['ensemble'].sum():,.0f}"
    assert total in page
    assert f"{GONE[0]}<br>" in page
    assert "0.500" in page  # the ensemble's score of the matured week
    assert list(target.parent.iterdir()) == [target]


def test_a_past_weeks_report_has_no_later_scores(engine: Engine, business: Business, tmp_path: Path) -> None:
    write_report(lambda: engine, SCORED, tmp_path / "week.html")
    assert "No week has been scored yet" in (tmp_path / "week.html").read_text()


def test_a_missing_week_is_an_error(engine: Engine, business: Business, tmp_path: Path) -> None:
    target = tmp_path / "week.html"
    target.write_text("yesterday's report")
    with pytest.raises(UserError, match="m5 forecast --week 2015-01-05"):
        write_report(lambda: engine, Week(dt.date(2015, 1, 5)), target)
    assert target.read_text() == "yesterday's report"


def test_without_a_database_the_error_says_what_to_do(tmp_path: Path) -> None:
    gone = create_engine("postgresql+psycopg2://m5:s3cret@127.0.0.1:9/m5")
    with pytest.raises(UserError, match="M5_DATABASE_URL"):
        write_report(lambda: gone, NEWEST, tmp_path / "week.html")
    assert list(tmp_path.iterdir()) == []
