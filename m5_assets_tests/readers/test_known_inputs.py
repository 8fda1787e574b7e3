from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from m5_assets.readers.known_inputs import CLOSED_DAYS, KnownInputs
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.settings import Settings
from m5_assets.weeks import Week
from m5_assets_tests.resources.test_landing_verification import WEEK, write_all
from m5_assets_tests.support.landing_folders import land


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(root=str(tmp_path / "lake"))
    assert write_all(LandingFolder(root=str(land(tmp_path / "landed"))), lake) == []
    return lake


def policy_of(closed: str = "", opened: str = "") -> ForecastPolicy:
    source = Settings(closed_days=closed, open_days=opened)
    return ForecastPolicy.of(source).model_copy(update={"min_history_weeks": 1})


def test_the_stores_of_closed_days_are_stores_of_the_sales(lake: Lake) -> None:
    known = KnownInputs(lake).at(Week.parse(WEEK), policy_of("12-25,CA_1:01-01", "WI_3:12-25"))
    assert known.inputs[CLOSED_DAYS] == "12-25,CA_1:01-01"


@pytest.mark.parametrize(
    ("closed", "opened", "words"),
    [
        ("12-25,CA1:01-01", "", "M5_CLOSED_DAYS has CA1:01-01, but no store CA1 .* the nearest is CA_1"),
        ("", "wi_3:12-25", "M5_OPEN_DAYS has wi_3:12-25, but no store wi_3 .* the nearest is WI_3"),
        ("München:12-25", "", "no store München .* nearest is (CA_1|WI_3); correct or remove the entry"),
    ],
)
def test_an_unknown_store_is_refused_with_the_nearest_one(lake: Lake, closed: str, opened: str, words: str) -> None:
    with pytest.raises(dg.Failure, match=words) as refusal:
        KnownInputs(lake).at(Week.parse(WEEK), policy_of(closed, opened))
    assert refusal.value.allow_retries is False
