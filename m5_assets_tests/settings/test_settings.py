from __future__ import annotations

import datetime as dt
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from m5_assets.settings import (
    AlertSettings,
    CheckSettings,
    InvalidSettings,
    JobResources,
    JobSettings,
    ProcessingResources,
    QuickSightSettings,
    RetentionSettings,
    Settings,
    TrainingResources,
    TransformResources,
    settings,
    unknown_variables,
)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    settings.cache_clear()


def test_defaults_need_nothing_but_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("M5_HOME", str(tmp_path))
    found = Settings()
    assert found.landing == str(tmp_path / "landing")
    assert found.lake == str(tmp_path / "lake")
    assert found.sagemaker.mode == "local"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"M5_HISTORY_WEEKS": "many"}, ["M5_HISTORY_WEEKS", "integer"]),
        ({"M5_LSTM_WEIGHT": "1.5"}, ["M5_LSTM_WEIGHT", "less than or equal to 1"]),
        ({"M5_LAST_WEEK": "2016-05-17"}, ["M5_LAST_WEEK=2016-05-17", "monday"]),
        ({"M5_LAST_WEEK": "1463356800"}, ["M5_LAST_WEEK", "'1463356800' is neither `live` nor the first day"]),
        ({"M5_LAST_WEEK": "2016-05-32"}, ["M5_LAST_WEEK", "2016-05-32", "such as 2016-05-16"]),
        ({"M5_LAST_WEEK": "0001-01-01"}, ["M5_LAST_WEEK", "0001-01-01", "such as 2016-05-16"]),
        ({"M5_CLOSED_DAYS": "01-01,25-12"}, ["M5_CLOSED_DAYS", "'25-12' is not a day of the year such as 12-25"]),
        ({"M5_OPEN_DAYS": "CA_1"}, ["M5_OPEN_DAYS", "CA_1:12-25"]),
        ({"M5_CLOSED_DAYS": "12-25," * 43}, ["M5_CLOSED_DAYS", "has 258 characters; at most 256"]),
        (
            {"M5_CLOSED_DAYS": "12-25,CA_1:01-01", "M5_OPEN_DAYS": "CA_1:01-01"},
            ["M5_CLOSED_DAYS", "M5_OPEN_DAYS", "CA_1:01-01 is both closed and open", "remove it from one"],
        ),
        ({"M5_LAKE": "s3://bucket/lake"}, ["M5_SAGEMAKER_MODE=aws"]),
        ({"M5_SAGEMAKER_FEATURES": "ml.m5.large"}, ["set M5_SAGEMAKER_FEATURES__INSTANCE_TYPE and"]),
        ({"M5_SAGEMAKER_FEATURES__INSTANCES": "3"}, ["M5_SAGEMAKER_FEATURES__INSTANCES", "not permitted"]),
        (
            {"M5_SAGEMAKER_GBM_TRANSFORM__INSTANCE_COUNT": "0"},
            ["M5_SAGEMAKER_GBM_TRANSFORM__INSTANCE_COUNT", "equal to 1"],
        ),
        (
            {"M5_SAGEMAKER_GBM_TRAINING__SPOT": "1", "M5_SAGEMAKER_GBM_TRAINING__MAX_WAIT_MINUTES": "60"},
            ["M5_SAGEMAKER_GBM_TRAINING", "max_wait_minutes=60", "180"],
        ),
        ({"M5_SAGEMAKER_SUBNETS": '["subnet-1"]'}, ["security_group_ids", "both or neither"]),
        ({"M5_ALERTS_SMTP_HOST": "mail.example.org"}, ["M5_ALERTS_SMTP_HOST", "M5_ALERTS_URLS"]),
        ({"M5_ALERTS_URLS": '["json://localhost", "example.org"]'}, ["M5_ALERTS_URLS", "item 2"]),
        ({"M5_ALERTS_URLS": "json://localhost"}, ["M5_ALERTS_URLS", "JSON"]),
        ({"M5_GBM_HYPERPARAMETERS": "{seed: 1}"}, ["M5_GBM_HYPERPARAMETERS", "JSON"]),
        ({"M5_GBM_HYPERPARAMETERS": '{"sed": "1"}'}, ["M5_GBM_HYPERPARAMETERS", "unknown", "sed", "iterations"]),
        ({"M5_LSTM_HYPERPARAMETERS": '{"windows": "-5"}'}, ["M5_LSTM_HYPERPARAMETERS", "windows='-5'", "greater"]),
        ({"M5_TIME_ZONE": "Europe/Berlinn"}, ["M5_TIME_ZONE", "Europe/Berlinn", "Europe/Berlin"]),
        ({"M5_ALLOWED_HOSTS": '["https://a.example"]'}, ["M5_ALLOWED_HOSTS", "'https://a.example'", "without scheme"]),
        ({"M5_ALLOWED_HOSTS": '["*"]'}, ["M5_ALLOWED_HOSTS", "'*' is not a host name"]),
        ({"M5_ALLOWED_HOSTS": "a.example"}, ["M5_ALLOWED_HOSTS", "JSON"]),
        ({"M5_TIME_ZONE": "../etc"}, ["M5_TIME_ZONE", "not a time zone"]),
        ({"M5_HOME": "/dev/null"}, ["M5_HOME", "/dev/null is not a folder"]),
        ({"M5_HOME": "/dev/null/below"}, ["M5_HOME", "/dev/null is not a folder"]),
        ({"M5_QUICKSIGHT_REFRESH": "1"}, ["M5_QUICKSIGHT_ACCOUNT_ID"]),
        ({"M5_QUICKSIGHT_PREFIX": "finance"}, ["M5_QUICKSIGHT_PREFIX", "pattern"]),
        ({"M5_CHECKS_VOLUME_BAND": "0"}, ["M5_CHECKS_VOLUME_BAND", "greater than 0"]),
        ({"M5_SAGEMAKER_MODE": "aws", "M5_LAKE": "s3://bucket/lake"}, ["M5_SAGEMAKER_FEATURES_IMAGE", "ECR"]),
    ],
)
def test_invalid_settings_are_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as problem:
        settings()
    for word in words:
        assert word in str(problem.value)


def test_an_empty_last_week_is_none_and_live_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in {"": None, "live": "live", "2016-05-16": dt.date(2016, 5, 16)}.items():
        monkeypatch.setenv("M5_LAST_WEEK", given)
        assert Settings().last_week == expected


def test_every_whole_number_and_every_wait_has_an_upper_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    classes: dict[str, type[BaseModel]] = {"M5_": Settings}
    classes |= {f"M5_{name.upper()}_": group for name, group in GROUPS.items()}
    classes |= {f"M5_SAGEMAKER_{job}__": part for job, part in JOBS.items()}
    names = [
        f"{prefix}{name}".upper()
        for prefix, group in classes.items()
        for name, field in group.model_fields.items()
        if field.annotation is int or name.endswith(("_seconds", "_minutes"))
    ]
    assert len(names) > 20
    for name in names:
        with monkeypatch.context() as one:
            one.setenv(name, "99999999")
            settings.cache_clear()
            with pytest.raises(InvalidSettings, match=f"{name}: Input should be less than"):
                settings()


def test_a_home_behind_a_broken_link_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    monkeypatch.setenv("M5_HOME", str(tmp_path / "link"))
    with pytest.raises(InvalidSettings, match=r"M5_HOME: .*link to .*gone, which does not exist"):
        settings()


def _said_to_another_user(home: Path) -> str:
    """Return what the settings say of a home to a user who is not root, who may read and write everywhere."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            os.environ["M5_HOME"] = str(home)
            settings()
        except InvalidSettings as problem:
            said = str(problem)
        finally:
            os.write(write, said.encode())
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as told:
        return told.read()


def test_a_home_that_cannot_be_used_by_this_user_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # other users may enter it, unlike tmp_path
        folder = Path(name)
        (folder / "home").mkdir()
        folder.chmod(0o555)
        assert f"{folder} is not writable" in _said_to_another_user(folder / "new")
        folder.chmod(0o000)
        assert f"{folder}/home cannot be reached" in _said_to_another_user(folder / "home")
        folder.chmod(0o700)


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("M5_HISTROY_WEEKS", "M5_SAGEMAKER_GBM_TRAINING__SPOT", "M5_SERVE_HOST", "M5_LSTM_WEIGHT"):
        monkeypatch.setenv(name, "1")
    (line,) = unknown_variables()
    assert line == "M5_HISTROY_WEEKS is not a setting and is ignored; did you mean M5_HISTORY_WEEKS?"


def test_setting_one_field_of_a_job_keeps_its_other_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M5_SAGEMAKER_LSTM_TRAINING__SPOT", "true")
    found = JobSettings()
    assert found.training("lstm").spot
    assert found.training("lstm").instance_type == "ml.g4dn.xlarge"
    assert not found.training("gbm").spot


def test_the_database_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M5_DATABASE_URL", "postgresql://m5:hunter2@localhost/m5")
    assert "hunter2" not in repr(Settings())


GROUPS: dict[str, type[BaseSettings]] = {
    "sagemaker": JobSettings,
    "checks": CheckSettings,
    "alerts": AlertSettings,
    "retention": RetentionSettings,
    "quicksight": QuickSightSettings,
}
JOB_PARTS: dict[str, type[JobResources]] = {
    "features": ProcessingResources,
    "training": TrainingResources,
    "transform": TransformResources,
}
JOBS: dict[str, type[JobResources]] = {
    "features": ProcessingResources,
    "lstm_training": TrainingResources,
    "gbm_transform": TransformResources,
}


def _row(name: str, field: FieldInfo, limited_to: str = "") -> str:
    """Return the row of docs/settings.md for a field."""
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, Path):
        default = default.name
    if isinstance(default, JobResources):
        default = default.instance_type
    shown = "(unset)" if default in (None, "", (), {}) else str(default)
    shown = "by job" if field.is_required() else f"`{shown.lower() if isinstance(default, bool) else shown}`"
    text = re.sub(r"(?<![`\w])(M5_[A-Z0-9_]+)", r"`\1`", f"{limited_to}{field.description}")
    return f"| `{name}` | {shown} | {text} |"


def _rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name not in GROUPS:
            yield _row(f"M5_{name.upper()}", field)
    for group, found in GROUPS.items():
        for name, field in found.model_fields.items():
            yield _row(f"M5_{group.upper()}_{name.upper()}", field)
    fields = {name: field for part in JOB_PARTS.values() for name, field in part.model_fields.items()}
    for name, field in fields.items():
        jobs = [job for job, part in JOB_PARTS.items() if name in part.model_fields]
        yield _row(name.upper(), field, "" if len(jobs) == len(JOB_PARTS) else f"{', '.join(jobs)}: ")


def test_the_documentation_has_every_setting_with_its_default_and_description() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "settings.md").read_text().splitlines()
    rows = list(_rows())
    assert len(rows) > 70
    assert [row for row in rows if row not in documented] == []
    assert [line for line in documented if line.startswith("| `") and line not in rows] == []


@pytest.mark.parametrize("place", ["gs://bucket/lake", "http://example.org/m5", "s3:/bucket/lake", "S3://bucket/lake"])
def test_an_address_that_is_no_folder_and_not_s3_is_refused(place: str) -> None:
    for name in ("lake", "landing"):
        with pytest.raises(ValidationError, match="is neither a folder nor an s3:// URI"):
            Settings.model_validate({name: place})


def test_folders_and_s3_are_places() -> None:
    given = Settings(landing="s3://bucket/landing", lake="data/a:b/lake")
    assert (given.landing, given.lake) == ("s3://bucket/landing", "data/a:b/lake")
