"""Real jobs on one and on three instances: the same files, byte for byte."""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m5_assets.containers.contract import Place
from m5_assets.forecasting.history import DailyUnits
from m5_assets.sagemaker import LocalSageMaker
from m5_assets.sagemaker.kinds import KINDS, TERMINAL_STATUSES
from m5_assets_tests.forecasting.panels import make_panel
from m5_assets_tests.sagemaker.conftest import ROLE, eventually

STORES, DAYS = 4, 140
RESOURCES = {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}


class Platform:
    """A small lake, and jobs on it in a local SageMaker."""

    def __init__(self, root: Path):
        self.lake = root / "lake"
        images = {name: [sys.executable, "-m", f"m5_assets.containers.{name}"] for name in ("features", "gbm")}
        runner = LocalSageMaker(root / "home", buckets={"lake": self.lake}, images=images)
        self.client = runner.client("sagemaker")
        self.origin = self._write_inputs()

    def _write_inputs(self) -> dt.date:
        panel = make_panel(seed=1, items=8, stores=STORES, days=DAYS)
        dates = pd.DatetimeIndex(panel.calendar["date"])
        calendar = panel.calendar.assign(date=dates.date, wm_yr_wk=11600 + np.arange(len(dates)) // 7)
        self._put("calendar/calendar.parquet", pa.Table.from_pandas(calendar, preserve_index=False))
        weeks = calendar["wm_yr_wk"].unique()
        rows = panel.series[["store_id", "item_id"]].merge(pd.DataFrame({"wm_yr_wk": weeks}), how="cross")
        price = 1.5 + 0.1 * (np.arange(len(rows)) % 7)
        self._put("prices/prices.parquet", pa.Table.from_pandas(rows.assign(sell_price=price.astype(np.float32))))
        for day in range(0, DAYS, 7):
            first, units = dates[day].date(), np.ascontiguousarray(panel.sales[:, day : day + 7].astype(np.int32))
            table = DailyUnits(panel.series, first, units).table()
            self._put(f"sales/{first}.parquet", table)
            keys = ["store_id", "dept_id", "cat_id", "state_id", "date"]
            totals = table.to_pandas().groupby(keys, observed=True, as_index=False)["units"].sum()
            self._put(f"totals/{first}.parquet", pa.Table.from_pandas(totals, preserve_index=False))
        return panel.origin.date()

    def _put(self, key: str, table: pa.Table) -> None:
        path = self.lake / key
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)

    def run(self, kind_name: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        kind = KINDS[kind_name]
        getattr(self.client, kind.method("Create"))(**{kind.job_name: name}, **request)

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = getattr(self.client, kind.method("Describe"))(**{kind.job_name: name})
            return found if found[kind.job_status] in TERMINAL_STATUSES else None

        description = eventually(ended, seconds=120)
        assert description[kind.job_status] == "Completed", description
        return description

    def features(self, instances: int) -> str:
        """Run the features job; the key below which it wrote."""
        name = f"features-{instances}"
        inputs = [
            {
                "InputName": part,
                "S3Input": {
                    "S3Uri": f"s3://lake/{part}/",
                    "LocalPath": f"/opt/ml/processing/input/{part}",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
            for part in ("sales", "totals", "prices", "calendar")
        ]
        outputs = [
            {
                "OutputName": part,
                "S3Output": {
                    "S3Uri": f"s3://lake/{name}/{part}",
                    "LocalPath": f"/opt/ml/processing/output/{part}",
                    "S3UploadMode": "EndOfJob",
                },
            }
            for part in ("panel", "horizon", "totals")
        ]
        request = {
            "RoleArn": ROLE,
            "AppSpecification": {
                "ImageUri": "features",
                "ContainerArguments": ["--origin", self.origin.isoformat()],
            },
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {"Outputs": outputs},
            "ProcessingResources": {"ClusterConfig": {**RESOURCES, "InstanceCount": instances}},
        }
        self.run("processing", name, request)
        return name

    def train(self, features: str) -> str:
        """Train a small GBM; the URI of its archive."""
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
        """Score the features; the key below which the answers lie."""
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


def test_features_and_predictions_of_three_instances_are_those_of_one(platform: Platform) -> None:
    one, three = platform.features(1), platform.features(3)
    files = platform.hashes(one)
    assert len(files) == 2 * STORES + 1
    assert platform.hashes(three) == files
    model = platform.train(one)
    answers = platform.hashes(platform.predict(one, model, 1))
    assert len(answers) == STORES
    assert platform.hashes(platform.predict(three, model, 3)) == answers


@pytest.mark.parametrize("instances", [1, 2, 3, 7])
def test_the_shares_are_the_whole(instances: int) -> None:
    items = list(range(5))
    shares = [Place(rank, instances).share(items) for rank in range(instances)]
    assert sorted(item for share in shares for item in share) == items
