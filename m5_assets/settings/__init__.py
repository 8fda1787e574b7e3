"""Every setting of the platform, typed and validated. Secrets never reach a log.

Each setting is an environment variable with the prefix `M5_`: `M5_HOME`, `M5_LANDING`, `M5_DATABASE_URL`, ...
Not here: the models' hyperparameters (`m5_assets.forecasting`).
"""

from m5_assets.settings.alert_settings import AlertSettings
from m5_assets.settings.check_settings import CheckLimitFields, CheckSettings, Limit
from m5_assets.settings.environment import InvalidSettings, settings, unknown_variables
from m5_assets.settings.platform_settings import M5_FIRST_DAY, Settings
from m5_assets.settings.quicksight_settings import QuickSightSettings
from m5_assets.settings.retention_settings import RetentionFields, RetentionSettings
from m5_assets.settings.sagemaker_settings import (
    PRICES,
    JobResources,
    JobSettings,
    ProcessingResources,
    TrainingResources,
    TransformResources,
)

__all__ = [
    "M5_FIRST_DAY",
    "PRICES",
    "AlertSettings",
    "CheckLimitFields",
    "CheckSettings",
    "InvalidSettings",
    "JobResources",
    "JobSettings",
    "Limit",
    "ProcessingResources",
    "QuickSightSettings",
    "RetentionFields",
    "RetentionSettings",
    "Settings",
    "TrainingResources",
    "TransformResources",
    "settings",
    "unknown_variables",
]
