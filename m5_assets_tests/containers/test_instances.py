"""Tests, with real local jobs, that the files do not depend on the number of instances or of origins per job."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster_sagemaker import LocalSageMaker
from dagster_sagemaker.job_kinds import KINDS, TERMINAL_STATUSES

from m5_assets.containers.contract import Place
from m5_assets.forecasting.history import DailyUnits
from m5_assets_tests.support.panels import make_panel

STORES, DAYS = 4, 140
ROLE = "arn:aws:iam::123456789012:role/jobs"
RESOURCES = {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}


class Platform:
    """A small lake and jobs on it, run by the local SageMaker."""

    def __init__(self, root: Path):
        self.lake = root / "lake"
        self._numbers = itertools.count(1)
        images = {name: [sys.executable, "-m", f"m5_assets.containers.{name}"] for name in ("features", "gbm")}
        runner = LocalSageMaker(root / "home", buckets={"lake": self.lake}, images=images)
        self.client = runner.client("sagemaker")
        self.first_day, self.origin = self._write_inputs()

    def _write_inputs(self) -> tuple[dt.date, dt.date]:
        panel = make_panel(seed=1, items=8, stores=STORES, days=DAYS)
        dates = pd.DatetimeIndex(panel.calendar["date"])
        calendar = panel.calendar.assign(date=dates.date, wm_yr_wk=11600 + np.arange(len(dates)) // 7)
        self._put("calendar/calendar.parquet", pa.Table.from_pandas(calendar, preserve_index=False))
        weeks = calendar["wm_yr_wk"].unique()
        rows = panel.series[["store_id", "item_id"]].merge(pd.DataFrame({"wm_yr_wk": weeks}), how="cross")
        price = 1.5 + 0.1 * (np.arange(len(rows)) % 7)
        self._put("prices/prices.parquet", pa.Table.from_pandas(rows.assign(sell_price=price.astype(np.float32))))
        for day in range(0, DAYS, 7):
            first = dates[day].date()
            known = len(panel.series) - (day < DAYS - 14)  # the last series joins the files late
            units = np.ascontiguousarray(panel.sales[:known, day : day + 7].astype(np.int32))
            table = DailyUnits(panel.series[:known], first, units).table()
            self._put(f"sales/{first}.parquet", table)
            keys = ["store_id", "dept_id", "cat_id", "state_id", "date"]
            totals = table.to_pandas().groupby(keys, observed=True, as_index=False)["units"].sum()
            self._put(f"totals/{first}.parquet", pa.Table.from_pandas(totals, preserve_index=False))
        return dates[0].date(), panel.origin.date()

    def cut_off(self, suffix: str, origin: dt.date) -> None:
        """Copy the weekly files up to an origin to keys with this suffix."""
        for part in ("sales", "totals"):
            for path in (self.lake / part).iterdir():
                if dt.date.fromisoformat(path.stem) <= origin:
                    self._put(f"{part}{suffix}/{path.name}", pq.read_table(path))

    def _put(self, key: str, table: pa.Table) -> None:
        path = self.lake / key
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)

    def run(self, kind_name: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        kind, client = KINDS[kind_name], self.client
        methods: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
            "processing": (client.create_processing_job, client.describe_processing_job),
            "training": (client.create_training_job, client.describe_training_job),
            "transform": (client.create_transform_job, client.describe_transform_job),
        }
        create, describe = methods[kind_name]
        create(**{kind.job_name: name}, **request)
        deadline = time.monotonic() + 120
        while (description := dict(describe(**{kind.job_name: name})))[kind.job_status] not in TERMINAL_STATUSES:
            assert time.monotonic() < deadline, "the job did not end in time"
            time.sleep(0.02)
        assert description[kind.job_status] == "Completed", description
        return description

    def features(self, instances: int, *origins: dt.date, since: dt.date | None = None, upto: str = "") -> list[str]:
        """Run a features job and return its output prefixes, one per origin."""
        origins = origins or (self.origin,)
        name = f"features-{next(self._numbers)}"
        inputs = [
            {
                "InputName": part,
                "S3Input": {
                    "S3Uri": f"s3://lake/{part}{upto if part in ('sales', 'totals') else ''}/",
                    "LocalPath": f"/opt/ml/processing/input/{part}",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
            for part in ("sales", "totals", "prices", "calendar")
        ]
        outputs = [
            {
                "OutputName": str(origin),
                "S3Output": {
                    "S3Uri": f"s3://lake/{name}/{origin}",
                    "LocalPath": f"/opt/ml/processing/output/{origin}",
                    "S3UploadMode": "EndOfJob",
                },
            }
            for origin in origins
        ]
        known_since = [str(since or self.first_day), str(self.first_day)]
        request = {
            "RoleArn": ROLE,
            "AppSpecification": {
                "ImageUri": "features",
                "ContainerArguments": [a for origin in origins for a in ("--origin", str(origin), *known_since)],
            },
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {"Outputs": outputs},
            "ProcessingResources": {"ClusterConfig": {**RESOURCES, "InstanceCount": instances}},
        }
        self.run("processing", name, request)
        return [f"{name}/{origin}" for origin in origins]

    def train(self, features: str) -> str:
        """Train a small GBM and return the URI of its archive."""
        request = {
            "RoleArn": ROLE,
            "AlgorithmSpecification": {"TrainingImage": "gbm", "TrainingInputMode": "File"},
            "HyperParameters": {"iterations": "3", "family": "global", "min_leaf_rows": "20"},
            "InputDataConfig": [
                {
                    "ChannelName": "panel",
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://lake/{features}/panel/"}},
                }
            ],
            "OutputDataConfig": {"S3OutputPath": "s3://lake/models"},
            "ResourceConfig": {**RESOURCES, "InstanceCount": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
        }
        uri: str = self.run("training", "gbm", request)["ModelArtifacts"]["S3ModelArtifacts"]
        return uri

    def predict(self, features: str, model: str, instances: int) -> str:
        """Run a batch transform on the features and return its output prefix."""
        name = f"predictions-{instances}"
        self.client.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "gbm", "ModelDataUrl": model}
        )
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://lake/{features}/horizon/"}
        request = {
            "ModelName": name,
            "TransformInput": {"DataSource": {"S3DataSource": source}, "ContentType": "application/x-parquet"},
            "TransformOutput": {"S3OutputPath": f"s3://lake/{name}"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": instances},
            "BatchStrategy": "SingleRecord",
            "MaxPayloadInMB": 100,
        }
        self.run("transform", name, request)
        return name

    def hashes(self, key: str) -> dict[str, str]:
        folder = self.lake / key
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return Platform(tmp_path_factory.mktemp("platform"))


def test_three_instances_write_the_same_files_as_one(platform: Platform) -> None:
    (one,), (three,) = platform.features(1), platform.features(3)
    files = platform.hashes(one)
    assert len(files) == 2 * STORES + 1
    assert platform.hashes(three) == files
    model = platform.train(one)
    answers = platform.hashes(platform.predict(one, model, 1))
    assert len(answers) == STORES
    assert platform.hashes(platform.predict(three, model, 3)) == answers


def test_a_job_for_several_origins_writes_the_same_as_one_job_per_origin(platform: Platform) -> None:
    """The windows begin later than the files, and a series joins after the first origin."""
    first, last, since = platform.origin - dt.timedelta(weeks=3), platform.origin, platform.first_day
    platform.cut_off("-cut", first)
    since += dt.timedelta(weeks=2)
    (alone,) = platform.features(1, first, since=since, upto="-cut")
    together = platform.features(1, first, last, since=since)
    files = platform.hashes(alone)
    assert len(files) == 2 * STORES + 1
    assert platform.hashes(together[0]) == files
    assert platform.hashes(together[1]) == platform.hashes(platform.features(1, last, since=since)[0])
    assert platform.hashes(together[1]) != files


@pytest.mark.parametrize("instances", [1, 2, 3, 7])
def test_the_shares_are_the_whole(instances: int) -> None:
    items = list(range(5))
    shares = [Place(rank, instances).share(items) for rank in range(instances)]
    assert sorted(item for share in shares for item in share) == items
