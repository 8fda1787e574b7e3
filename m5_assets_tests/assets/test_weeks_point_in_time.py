"""Tests that random weeks have the same bytes whether they are computed live or in hindsight.

Covers everything a week writes, from its features to its rows in PostgreSQL, with trained and carried-forward models
and with ensemble weights from matured weeks. Not here: many more weeks and futures for the features alone
(`containers/test_features_point_in_time`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.sample import write_sample
from m5_assets.weeks import Week
from m5_assets_tests.support.home import DATASETS, HISTORY_WEEKS, Home, cut_off

pytestmark = pytest.mark.long
FIRST_LANDED, WEEKS_LANDED = Week.parse("2015-04-20"), 57


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    made = []

    def make(name: str) -> Home:
        made.append(Home(tmp_path / name))
        return made[-1]

    yield make
    for home in made:
        EmbeddedServer(home.path).stop()


def test_weeks_depend_on_nothing_after_their_origin(make_home: Callable[[str], Home]) -> None:
    draw = random.SystemRandom()  # different weeks in every run
    seed, first = draw.randrange(2**16), draw.randrange(HISTORY_WEEKS - 1, WEEKS_LANDED - 8)
    weeks = [FIRST_LANDED.shift(first), FIRST_LANDED.shift(first + draw.randint(1, 6))]
    drawn = f"{weeks[0]}-{weeks[1]}-sample-{seed}"  # part of every path, so that errors show it
    looking_back, lived = make_home(f"looking-back-{drawn}"), make_home(f"lived-{drawn}")
    write_sample(looking_back.path / "landing", items=7, weeks=WEEKS_LANDED, seed=seed)
    for week in weeks:
        looking_back.run("forecast", "--week", week.key)
        cut_off(looking_back.path / "landing", lived.path / "landing", week)
        lived.run("forecast", "--week", week.key)
    for week in weeks:
        for dataset in DATASETS:
            assert looking_back.hashes(dataset, week) == lived.hashes(dataset, week), (drawn, week.key, dataset)
        rows = looking_back.rows(week)
        assert len(rows) == 7 * 10 * 28
        pd.testing.assert_frame_equal(rows, lived.rows(week))
