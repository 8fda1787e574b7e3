"""Every setting of the platform, typed, read from the environment once.

Here: names, defaults and limits of what a user may set. Not here: what a single job's program takes (its
hyperparameters are defined beside the model in `m5_assets.forecasting`) and secrets' values in any log.

Every setting is an environment variable with the prefix `M5_`: `M5_HOME`, `M5_LANDING`, `M5_DATABASE_URL`, ...
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from m5_assets.errors import UserError

M5_FIRST_DAY = dt.date(2011, 1, 29)
"""d_1 of the competition's calendar, a Saturday."""


class InvalidSettings(UserError):
    """The environment holds a setting that cannot be used; the message names it and the remedy."""


PRICES = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m5.4xlarge": 0.922,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.g4dn.xlarge": 0.7364,
    "ml.g4dn.2xlarge": 0.94,
    "ml.g5.xlarge": 1.408,
}
"""USD an hour of an instance of Processing, Training and Batch Transform, on demand, in us-east-1, as AWS's page
https://aws.amazon.com/sagemaker/pricing/ was quoted through 2025. Estimates only: other regions and later days differ.
"""


def _check_network(subnets: tuple[str, ...], security_group_ids: tuple[str, ...]) -> None:
    if bool(subnets) != bool(security_group_ids):
        raise ValueError("subnets and security_group_ids belong together: set both or neither")


class JobResources(BaseModel):
    """What a job runs on: `M5_SAGEMAKER_<JOB>__<NAME>`. What is empty here is taken from the platform's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instance_type: str = Field(description="one that SageMaker offers in the region")
    max_runtime_minutes: int = Field(180, ge=1, le=7200, description="a job that runs longer is stopped")
    kms_key_id: str = Field("", description="key of its volume and its outputs")
    subnets: tuple[str, ...] = Field((), description="JSON list; its network, with security_group_ids")
    security_group_ids: tuple[str, ...] = Field((), description="JSON list")
    tags: dict[str, str] = Field(default_factory=dict, description="JSON; added to the platform's tags")

    @model_validator(mode="after")
    def _whole_network(self) -> Self:
        _check_network(self.subnets, self.security_group_ids)
        return self


class ProcessingResources(JobResources):
    """What a Processing job runs on."""

    instance_count: int = Field(1, ge=1, le=100, description="instances that share the stores among them")
    volume_gb: int = Field(30, ge=1, le=16384, description="disk of an instance")


class TrainingResources(JobResources):
    """What a Training job runs on: one instance, for no model here is trained on several."""

    volume_gb: int = Field(30, ge=1, le=16384, description="disk of the instance")
    spot: bool = Field(False, description="spot instances: cheaper, and interrupted at times")
    max_wait_minutes: int = Field(360, ge=1, description="with spot: running and waiting for capacity together")

    @model_validator(mode="after")
    def _wait_covers_runtime(self) -> Self:
        if self.spot and self.max_wait_minutes < self.max_runtime_minutes:
            raise ValueError(
                f"max_wait_minutes={self.max_wait_minutes} must be at least max_runtime_minutes="
                f"{self.max_runtime_minutes}"
            )
        return self


class TransformResources(JobResources):
    """What a Batch Transform job runs on."""

    instance_count: int = Field(1, ge=1, le=100, description="instances that share the stores among them")


class JobSettings(BaseSettings):
    """Where SageMaker jobs run and on what: `M5_SAGEMAKER_*`."""

    model_config = SettingsConfigDict(
        env_prefix="M5_SAGEMAKER_",
        # M5_SAGEMAKER_FEATURES__INSTANCE_COUNT sets one field; the job's other defaults stay.
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        extra="ignore",
    )

    mode: Literal["local", "aws"] = Field("local", description="local: this machine's runner answers; aws: Amazon does")
    region: str = "us-east-1"
    role_arn: str = Field("arn:aws:iam::000000000000:role/m5-local", description="execution role of the jobs")
    features_role_arn: str = Field("", description="role of the features job; empty: M5_SAGEMAKER_ROLE_ARN")
    gbm_role_arn: str = Field("", description="role of the GBM's jobs; empty: M5_SAGEMAKER_ROLE_ARN")
    lstm_role_arn: str = Field("", description="role of the LSTM's jobs; empty: M5_SAGEMAKER_ROLE_ARN")
    totals_role_arn: str = Field("", description="role of the totals' jobs; empty: M5_SAGEMAKER_ROLE_ARN")
    features_image: str = Field("", description="image of the features job; empty in local mode")
    gbm_image: str = ""
    lstm_image: str = ""
    totals_image: str = ""
    features: ProcessingResources = ProcessingResources(instance_type="ml.m5.2xlarge")
    gbm_training: TrainingResources = TrainingResources(instance_type="ml.m5.2xlarge")
    lstm_training: TrainingResources = TrainingResources(instance_type="ml.g4dn.xlarge")
    totals_training: TrainingResources = TrainingResources(instance_type="ml.m5.xlarge")
    gbm_transform: TransformResources = TransformResources(instance_type="ml.m5.xlarge")
    lstm_transform: TransformResources = TransformResources(instance_type="ml.g4dn.xlarge")
    totals_transform: TransformResources = TransformResources(instance_type="ml.m5.large")
    kms_key_id: str = Field("", description="key of all jobs' volumes and outputs")
    subnets: tuple[str, ...] = Field(
        (), description="JSON list; network of all jobs, with M5_SAGEMAKER_SECURITY_GROUP_IDS"
    )
    security_group_ids: tuple[str, ...] = Field((), description="JSON list")
    tags: dict[str, str] = Field(default_factory=dict, description="JSON; tags of all jobs")
    prices: dict[str, float] = Field(
        default_factory=dict, description="JSON; USD an hour by instance type, for those that differ from the built-in"
    )
    poll_seconds: float = Field(15.0, gt=0, description="between two looks at a job on AWS; locally 0.25")

    @model_validator(mode="after")
    def _whole_network(self) -> Self:
        _check_network(self.subnets, self.security_group_ids)
        return self

    @model_validator(mode="after")
    def _images_on_aws(self) -> Self:
        missing = [
            n
            for n in ("features_image", "gbm_image", "lstm_image", "totals_image")
            if self.mode == "aws" and not getattr(self, n)
        ]
        if missing:
            names = ", ".join(f"M5_SAGEMAKER_{name.upper()}" for name in missing)
            raise ValueError(f"M5_SAGEMAKER_MODE is aws: set {names} to the images' ECR URIs")
        return self


class CheckSettings(BaseSettings):
    """What the asset checks let pass: `M5_CHECKS_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_CHECKS_", extra="ignore")

    missing_series: float = Field(0.01, ge=0, le=1, description="share of the live series that a week may lack")
    volume_band: float = Field(0.4, gt=0, description="a week's units may differ from the usual by this share")
    zero_share_band: float = Field(0.1, gt=0, le=1, description="its share of days without a sale, by this much")
    forecast_band: float = Field(0.4, gt=0, description="the forecast's units a day against the last four weeks'")
    accuracy_weeks: int = Field(8, ge=1, description="matured weeks over which the ensemble is compared")
    ensemble_tolerance: float = Field(0.02, ge=0, description="by this share it may be worse than its best member")
    model_age_weeks: int = Field(8, ge=1, description="a model in force may be this old")
    landing_hours: int = Field(24, ge=0, description="hours after a week's end by which its sales are due")


class AlertSettings(BaseSettings):
    """Who is told of an incident, and how: `M5_ALERTS_*`. Every channel that is set is used; the log always is."""

    model_config = SettingsConfigDict(env_prefix="M5_ALERTS_", extra="ignore")

    email_to: str = Field("", description="addresses, joined by commas; needs M5_ALERTS_SMTP_HOST")
    email_from: str = Field("m5@localhost", description="the sender's address")
    smtp_host: str = Field("", description="mail server; empty: no e-mail")
    smtp_port: int = Field(587, ge=1, le=65535, description="587 for starttls, 465 for tls, as a rule")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="none: on a trusted network only")
    smtp_ca_file: str = Field("", description="certificates to trust; empty: the system's")
    smtp_user: str = Field("", description="empty: no login")
    smtp_password: SecretStr = Field(SecretStr(""), description="the login's password")
    sns_topic_arn: str = Field("", description="SNS topic; empty: no SNS")
    webhook_url: SecretStr = Field(
        SecretStr(""), description="https:// address that is sent a JSON text; holds a secret"
    )
    ui_url: str = Field("http://127.0.0.1:3000", description="where a reader of the message finds Dagster's UI")

    @model_validator(mode="after")
    def _whole_channels(self) -> Self:
        if bool(self.email_to) != bool(self.smtp_host):
            raise ValueError("M5_ALERTS_EMAIL_TO and M5_ALERTS_SMTP_HOST belong together: set both or neither")
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError("M5_ALERTS_SMTP_USER with M5_ALERTS_SMTP_SECURITY=none would send a password in the clear")
        if self.webhook_url.get_secret_value() and not self.webhook_url.get_secret_value().startswith(
            ("https://", "http://127.0.0.1", "http://localhost")
        ):
            raise ValueError("M5_ALERTS_WEBHOOK_URL must begin with https:// (http:// only on this machine)")
        return self


class RetentionSettings(BaseSettings):
    """What housekeeping keeps: `M5_RETENTION_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_RETENTION_", extra="ignore")

    features_weeks: int = Field(8, ge=1, description="newest weeks whose features are kept")
    predictions_weeks: int = Field(104, ge=57, description="newest weeks whose models' predictions are kept")
    runs_days: int = Field(730, ge=30, description="Dagster's runs and their events; younger ones are kept")
    files_hours: int = Field(48, ge=1, description="files that no week names are removed once they are this old")


class QuickSightSettings(BaseSettings):
    """Where the QuickSight dashboard is, and who sees it: `M5_QUICKSIGHT_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_QUICKSIGHT_", extra="ignore")

    refresh: bool = Field(False, description="whether quicksight_refresh refreshes; needs M5_QUICKSIGHT_ACCOUNT_ID")
    account_id: str = Field("", pattern=r"^(\d{12})?$", description="AWS account of QuickSight, twelve digits")
    region: str = Field("us-east-1", description="AWS region of QuickSight's data")
    prefix: str = Field(
        "m5", pattern=r"^m5[\w-]{0,40}$", description="begins every id; m5-dev and m5-prod in one account"
    )
    owners: tuple[str, ...] = Field((), description="JSON list; ARNs of QuickSight users or groups who may change all")
    readers: tuple[str, ...] = Field((), description="JSON list; ARNs of those who may look at the dashboard")
    secret_arn: str = Field("", description="Secrets Manager secret with the database's username and password")
    vpc_connection_arn: str = Field("", description="QuickSight's VPC connection; empty: over the internet")
    database_host: str = Field("", description="PostgreSQL's host, as QuickSight reaches it")
    database_port: int = Field(5432, ge=1, le=65535, description="its port")
    database_name: str = Field("m5", description="its database")
    poll_seconds: float = Field(5.0, gt=0, description="between two looks at something in progress")
    timeout_minutes: float = Field(60.0, gt=0, description="longest wait for one thing, or for a throttled service")

    @model_validator(mode="after")
    def _refresh_has_an_account(self) -> Self:
        if self.refresh and not self.account_id:
            raise ValueError("M5_QUICKSIGHT_REFRESH is set: set M5_QUICKSIGHT_ACCOUNT_ID, too")
        return self


class Settings(BaseSettings):
    """What a user may set; see each field's description."""

    model_config = SettingsConfigDict(env_prefix="M5_", extra="ignore")

    home: Path = Field(Path(".m5"), description="folder of everything the platform keeps on this machine")
    landing: str = Field("", description="folder or s3:// URI with M5's CSV files; default: M5_HOME/landing")
    lake: str = Field("", description="folder or s3:// URI of the Parquet lake; default: M5_HOME/lake")
    database_url: SecretStr = Field(SecretStr(""), description="PostgreSQL; empty: an embedded server under M5_HOME")

    week_start: Literal["monday", "sunday"] = Field("monday", description="the day on which forecast weeks begin")
    last_week: dt.date | None = Field(None, description="first day of the last week of frozen data; unset: live data")
    schedule_hour: int = Field(2, ge=0, le=23, description="hour of the weekly run, on the first day of a week")
    time_zone: str = Field("UTC", description="time zone of the schedule")
    history_weeks: int = Field(112, ge=8, le=520, description="weeks of daily sales that features and models see")
    min_history_weeks: int = Field(50, ge=5, description="fewer landed weeks than this are refused")
    cadence_weeks: int = Field(4, ge=1, description="a model is trained anew when the last one is this old")
    lstm_weight: float = Field(0.2, ge=0, le=1, description="the LSTM's share in the ensemble, before past weeks tell")
    gbm_hyperparameters: dict[str, str] = Field(default_factory=dict, description='JSON, such as {"seed": "1"}')
    lstm_hyperparameters: dict[str, str] = Field(default_factory=dict, description="JSON")
    totals_hyperparameters: dict[str, str] = Field(default_factory=dict, description="JSON")
    alignment: float = Field(
        0.8, ge=0, le=1, description="how far items are aligned to the totals, before past weeks tell: 0 not, 1 fully"
    )
    heavy_jobs: int = Field(1, ge=1, description="features and training jobs that run at once, over all runs")
    sagemaker: JobSettings = Field(default_factory=JobSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    quicksight: QuickSightSettings = Field(default_factory=QuickSightSettings)

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        self.home = self.home.expanduser().resolve()
        self.landing = self.landing or str(self.home / "landing")
        self.lake = self.lake or str(self.home / "lake")
        if self.last_week and self.last_week.weekday() != self.first_weekday:
            raise ValueError(f"M5_LAST_WEEK={self.last_week} is not a {self.week_start}, the day on which weeks begin")
        if self.sagemaker.mode == "aws" and not self.lake.startswith("s3://"):
            raise ValueError(
                f"M5_SAGEMAKER_MODE is aws, but M5_LAKE={self.lake} is not an s3:// URI that jobs can reach"
            )
        if self.sagemaker.mode == "local" and self.lake.startswith("s3://"):
            raise ValueError(f"M5_LAKE={self.lake} needs M5_SAGEMAKER_MODE=aws: the local runner reads folders")
        return self

    @property
    def first_weekday(self) -> int:
        """The weekday on which weeks begin, as in `datetime.date.weekday` (Monday is 0)."""
        return 0 if self.week_start == "monday" else 6

    @property
    def first_week(self) -> dt.date:
        """The first day of the week that holds d_1."""
        return M5_FIRST_DAY - dt.timedelta(days=(M5_FIRST_DAY.weekday() - self.first_weekday) % 7)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process.

    Raises:
        InvalidSettings: naming every variable that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as problem:
        prefix = next(
            k.model_config["env_prefix"] for k in BaseSettings.__subclasses__() if k.__name__ == problem.title
        )
        lines = [
            f"  {prefix}{'__'.join(str(part) for part in error['loc']).upper()}: {error['msg']}"
            if error["loc"]
            else f"  {error['msg']}"
            for error in problem.errors()
        ]
        raise InvalidSettings("the environment holds settings that cannot be used:\n" + "\n".join(lines)) from None
