from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pandas as pd
import pytest

from m5_assets.partitions import weekly_partitions
from m5_assets.resources.known_days import known_days
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.resources.landing_files import Landing, Span
from m5_assets.sample import write_sample
from m5_assets.settings import Settings, settings
from m5_assets_tests.resources.test_landing_files import s3_endpoint

__all__ = ["s3_endpoint"]

NOW = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
SAMPLE = Span(dt.date(2016, 4, 4), dt.date(2016, 4, 4), dt.date(2016, 5, 22))


def _ends(source: Settings, known: Span | None, now: dt.datetime = NOW) -> tuple[str, str]:
    keys = weekly_partitions(source, known, now).get_partition_keys(now)
    return keys[0], keys[-1]


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    write_sample(folder, items=7, weeks=7, seed=1)
    return folder


def test_partitions_of_frozen_data_are_the_landed_weeks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _ends(Settings(), SAMPLE) == ("2016-04-04", "2016-05-16")
    monkeypatch.setenv("M5_WEEK_START", "sunday")
    settings.cache_clear()
    sunday = _ends(settings(), SAMPLE)
    monkeypatch.undo()
    settings.cache_clear()
    assert sunday == ("2016-04-03", "2016-05-15")


def test_partitions_of_live_data_end_with_the_last_week_that_is_over() -> None:
    assert _ends(Settings(), SAMPLE, dt.datetime(2016, 5, 23, tzinfo=dt.UTC)) == ("2016-04-04", "2016-05-16")
    assert _ends(Settings(), SAMPLE, dt.datetime(2016, 6, 13, tzinfo=dt.UTC)) == ("2016-04-04", "2016-06-06")
    assert _ends(Settings(last_week="live"), SAMPLE) == ("2016-04-04", "2026-11-16")


def test_a_last_week_ends_the_partitions_even_before_the_landed_weeks() -> None:
    assert _ends(Settings(last_week=dt.date(2016, 5, 2)), SAMPLE) == ("2016-04-04", "2016-05-02")
    assert _ends(Settings(last_week=dt.date(2009, 5, 4)), SAMPLE) == ("2009-05-04", "2009-05-04")


def test_before_anything_is_landed_every_week_since_m5s_first_is_a_partition() -> None:
    assert _ends(Settings(), None) == ("2011-01-24", "2026-11-16")


def test_the_known_days_are_those_of_sales_and_older_totals(landing: Path, tmp_path: Path) -> None:
    assert known_days(str(tmp_path), str(tmp_path / "lake")) is None
    assert not (tmp_path / "lake").exists()
    assert known_days(str(landing), str(tmp_path / "lake")) == SAMPLE
    for file in landing.iterdir():
        (tmp_path / file.name).symlink_to(file)
    totals = pd.DataFrame({"store_id": ["CA_1"], "dept_id": ["FOODS_1"], "d_3": [1], "d_4": [2]})
    totals.to_csv(tmp_path / "sales_store_dept_history.csv", index=False)
    known = known_days(str(tmp_path), str(tmp_path / "lake"))
    assert known == Span(dt.date(2011, 1, 31), SAMPLE.first_sales_day, SAMPLE.last_day)


def test_the_first_lines_say_the_same_as_the_whole_files(landing: Path) -> None:
    reader = Landing(str(landing))
    assert reader.days() == (SAMPLE.first_sales_day, SAMPLE.last_day)


def test_weeks_that_were_loaded_stay_known_when_the_landed_files_begin_later(landing: Path, tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    for key in ("2015-06-01", "2016-05-23"):
        lake.commit(Manifest("raw_sales", key, ()))
    lake.commit(Manifest("store_dept_sales", "2009-03-02", ()))
    loaded = Span(dt.date(2009, 3, 2), dt.date(2015, 6, 1), dt.date(2016, 5, 29))
    assert known_days(str(landing), str(tmp_path)) == loaded
    assert known_days(str(tmp_path / "nothing"), str(tmp_path)) == loaded


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n", b"date,d\n2011-13-45,d_1\n", b"date,d\n"])
def test_a_calendar_that_cannot_be_read_does_not_stop_the_code_from_loading(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "calendar.csv").write_bytes(content)
    (tmp_path / "sales_train_evaluation.csv").write_text("id,d_1\n")
    assert known_days(str(tmp_path), str(tmp_path / "lake")) is None


def test_files_on_s3_are_known_too_and_a_failure_is_none(
    landing: Path, tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="retailer")
    for path in landing.iterdir():
        client.upload_file(str(path), "retailer", f"m5/{path.name}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    assert known_days("s3://retailer/m5", "s3://retailer/lake") == SAMPLE
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    begun = time.monotonic()
    assert known_days("s3://retailer/m5", "s3://retailer/lake") is None
    assert time.monotonic() - begun < 60


def test_the_code_offers_weeks_before_m5s_first(landing: Path, tmp_path: Path) -> None:
    folder = tmp_path / "landing"
    folder.mkdir()
    (folder / "calendar.csv").write_text("date,wm_yr_wk,d\n2009-03-03,10906,d_1\n")
    (folder / "sales_train_evaluation.csv").write_text(
        "id,item_id,dept_id,cat_id,store_id,state_id," + ",".join(f"d_{day}" for day in range(1, 21)) + "\n"
    )
    program = (
        "import json; from m5_assets.definitions import defs; graph = defs.resolve_asset_graph();"
        "print(json.dumps([graph.get(k).partitions_def.get_partition_keys() for k in graph.get_all_asset_keys()"
        " if graph.get(k).is_partitioned]))"
    )
    environment = os.environ | {"M5_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    keys = json.loads(done.stdout)
    assert len(keys) > 10
    assert all(found == ["2009-03-02", "2009-03-09", "2009-03-16"] for found in keys)
