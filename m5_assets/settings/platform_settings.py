"""The platform's own settings, and the groups of settings below them."""

from __future__ import annotations

import datetime as dt
import os
import re
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from m5_assets.clone import CLONE, IS_CLONE
from m5_assets.forecasting.closed_days import Given, YearlyDate
from m5_assets.model_specs import MEMBERS, MODELS, ModelSpec
from m5_assets.settings.alert_settings import AlertSettings
from m5_assets.settings.check_settings import CheckSettings
from m5_assets.settings.per_model_fields import with_fields
from m5_assets.settings.quicksight_settings import QuickSightSettings
from m5_assets.settings.retention_settings import RetentionSettings
from m5_assets.settings.sagemaker_settings import JobSettings

M5_FIRST_DAY = dt.date(2011, 1, 29)
"""d_1 of the competition's calendar, a Saturday."""


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_DAY = re.compile(r"(19|2\d)\d\d-\d\d-\d\d")
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f:]+(?:\.[0-9.]+)?")


def _default_home() -> Path:
    return (CLONE if IS_CLONE else Path.cwd()) / ".m5"


def _share(member: ModelSpec) -> Any:
    text = f"the {member.label}'s share in the ensemble until enough past weeks are scored"
    return Field(member.share, ge=0, le=1, description=text)


def _hyperparameters(model: ModelSpec) -> Any:
    return Field(
        default_factory=dict,
        description=f'JSON map of hyperparameters for the {model.label} model, such as {{"seed": "1"}}',
    )


@with_fields(
    {f"{member.name}_weight": (float, _share(member)) for member in MEMBERS[1:]}
    | {f"{model.name}_hyperparameters": (dict[str, str], _hyperparameters(model)) for model in MODELS}
)
class Settings(BaseSettings):
    """All settings of the platform: `M5_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_", extra="ignore")

    home: Path = Field(
        default_factory=_default_home,
        description="folder for everything the platform keeps on this machine; `.m5` in the clone, or in the working "
        "directory if the package is installed without one",
    )
    landing: str = Field("", description="folder or s3:// URI of M5's CSV files; empty: M5_HOME/landing")
    lake: str = Field("", description="folder or s3:// URI of the Parquet lake; empty: M5_HOME/lake")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="JSON list; host names, beside loopback, by which Dagster's UI and the dashboard are reached"
    )
    database_url: SecretStr = Field(SecretStr(""), description="PostgreSQL URL; empty: an embedded server in M5_HOME")
    database_reader_password: SecretStr = Field(
        SecretStr(""), description="password of m5_reader at M5_DATABASE_URL; unset: the URL's user reads"
    )
    database_writer_password: SecretStr = Field(
        SecretStr(""), description="password of m5_writer at M5_DATABASE_URL; unset: the URL's user loads"
    )
    database_dagster_password: SecretStr = Field(
        SecretStr(""), description="password that `m5 migrate` gives m5_dagster, who keeps Dagster's runs"
    )

    week_start: Literal["monday", "sunday"] = Field("monday", description="weekday on which forecast weeks begin")
    last_week: dt.date | Literal["live"] | None = Field(
        None,
        description="last week of frozen data, by its first day, or `live`; unset: sales that end more than a year ago "
        "are frozen",
    )
    schedule_hour: int = Field(2, ge=0, le=23, description="hour of the weekly run, on the first day of a week")
    time_zone: str = Field("UTC", description="time zone of the schedules")
    history_weeks: int = Field(112, ge=8, le=520, description="weeks of daily sales for features and models")
    min_history_weeks: int = Field(50, ge=5, le=520, description="weeks of sales needed before the first forecast")
    cadence_weeks: int = Field(4, ge=1, le=520, description="weeks between trainings of a model")
    alignment: float = Field(
        0.8, ge=0, le=1, description="alignment strength until enough past weeks are scored (0 = none, 1 = full)"
    )
    closed_days: str = Field(
        "", description="dates on which stores close that their sales do not show yet, such as `12-25,CA_1:01-01`"
    )
    open_days: str = Field(
        "", description="dates on which stores will open although their sales show them closed so far; same form"
    )
    heavy_jobs: int = Field(
        1, ge=1, le=100, description="features and training jobs that may run at the same time, across all runs"
    )
    sagemaker: JobSettings = Field(default_factory=JobSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    quicksight: QuickSightSettings = Field(default_factory=QuickSightSettings)

    @field_validator("last_week", mode="before")
    @classmethod
    def _is_a_day_or_live(cls, given: object) -> object:
        if not isinstance(given, str) or given == "live":
            return given
        if not given:
            return None
        try:  # Python reads other forms of dates too, such as 2016-W20-1
            return dt.date.fromisoformat(given if _DAY.fullmatch(given) else "")
        except ValueError:
            raise ValueError(f"{given!r} is neither `live` nor the first day of a week such as 2016-05-16") from None

    @field_validator("time_zone")
    @classmethod
    def _is_a_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is not a time zone; use a name like Europe/Berlin") from None
        return name

    @field_validator("landing", "lake")
    @classmethod
    def _is_a_folder_or_s3(cls, place: str) -> str:
        if not place.startswith("s3://") and _SCHEME.match(place):
            raise ValueError(f"{place!r} is neither a folder nor an s3:// URI")
        return place

    @field_validator("allowed_hosts")
    @classmethod
    def _are_host_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST_NAME.fullmatch(host):
                raise ValueError(
                    f"{host!r} is not a host name; use one like forecasts.example.com, without scheme or port"
                )
        return hosts

    @field_validator("closed_days", "open_days")
    @classmethod
    def _are_yearly_dates(cls, text: str) -> str:
        YearlyDate.parse(text)
        return text

    @field_validator("home")
    @classmethod
    def _can_be_used(cls, home: Path) -> Path:
        path = home.expanduser()
        try:
            dangling = path.is_symlink() and not path.exists()
            existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
        except PermissionError:
            raise ValueError(f"{path} cannot be reached by the user who runs this") from None
        if dangling:
            raise ValueError(f"{path} is a link to {path.readlink()}, which does not exist")
        if not existing.is_dir():
            raise ValueError(f"{existing} is not a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise ValueError(f"{existing} is not writable by the user who runs this")
        return home

    @model_validator(mode="after")
    def _hyperparameters_are_known(self) -> Self:
        for model in MODELS:
            try:
                model.hyperparameters.from_hyperparameters(self.hyperparameters(model.name))
            except ValueError as problem:
                raise ValueError(f"M5_{model.name.upper()}_HYPERPARAMETERS: {problem}") from None
        return self

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        self.home = self.home.expanduser().resolve()
        self.landing = self.landing or str(self.home / "landing")
        self.lake = self.lake or str(self.home / "lake")
        if isinstance(self.last_week, dt.date) and self.last_week.weekday() != self.first_weekday:
            raise ValueError(f"M5_LAST_WEEK={self.last_week} is not a {self.week_start}, the day on which weeks begin")
        if self.sagemaker.mode == "aws" and not self.lake.startswith("s3://"):
            raise ValueError(
                f"M5_SAGEMAKER_MODE is aws, but M5_LAKE={self.lake} is not an s3:// URI that jobs can reach"
            )
        if self.sagemaker.mode == "local" and self.lake.startswith("s3://"):
            raise ValueError(f"M5_LAKE={self.lake} needs M5_SAGEMAKER_MODE=aws: the local runner reads folders")
        return self

    @model_validator(mode="after")
    def _no_day_is_closed_and_open(self) -> Self:
        try:
            Given.parse(self.closed_days, self.open_days)
        except ValueError as problem:
            raise ValueError(f"M5_CLOSED_DAYS and M5_OPEN_DAYS: {problem}; remove it from one of them") from None
        return self

    @model_validator(mode="after")
    def _passwords_have_an_address(self) -> Self:
        if not self.database_url.get_secret_value():
            for role in ("reader", "writer", "dagster"):
                if getattr(self, f"database_{role}_password").get_secret_value():
                    raise ValueError(
                        f"M5_DATABASE_{role.upper()}_PASSWORD is set, but M5_DATABASE_URL is not: the embedded server "
                        "generates its own passwords"
                    )
        return self

    def share(self, member: str) -> float:
        """Return a member's configured share in the ensemble; the first member has the rest and no setting."""
        return float(getattr(self, f"{member}_weight"))

    def hyperparameters(self, model: str) -> dict[str, str]:
        """Return the configured hyperparameters of a model; all others keep their defaults."""
        found: dict[str, str] = getattr(self, f"{model}_hyperparameters")
        return found

    @model_validator(mode="after")
    def _shares_leave_a_rest(self) -> Self:
        shares = {f"M5_{member.name.upper()}_WEIGHT": self.share(member.name) for member in MEMBERS[1:]}
        if sum(shares.values()) > 1:
            raise ValueError(f"{' + '.join(shares)} is {sum(shares.values()):g}: the shares must not exceed 1")
        return self

    @property
    def first_weekday(self) -> int:
        """The weekday on which weeks begin, as in `datetime.date.weekday` (Monday is 0)."""
        return 0 if self.week_start == "monday" else 6

    @property
    def first_week(self) -> dt.date:
        """The first day of the week that holds d_1."""
        return M5_FIRST_DAY - dt.timedelta(days=(M5_FIRST_DAY.weekday() - self.first_weekday) % 7)
