"""The settings of this process, read from its environment once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from functools import lru_cache

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from m5_assets.errors import UserError
from m5_assets.settings.alert_settings import AlertSettings
from m5_assets.settings.check_settings import CheckSettings
from m5_assets.settings.platform_settings import Settings
from m5_assets.settings.quicksight_settings import QuickSightSettings
from m5_assets.settings.retention_settings import RetentionSettings
from m5_assets.settings.sagemaker_settings import JobResources, JobSettings

_GROUPS: tuple[type[BaseSettings], ...] = (
    Settings,
    JobSettings,
    CheckSettings,
    AlertSettings,
    RetentionSettings,
    QuickSightSettings,
)
# Read elsewhere: by the jobs' programs, by the ECS launcher of the AWS stacks, by the tests.
_OTHERS = re.compile(r"M5_(SERVE_HOST|SHARED|AWS_\w+|TEST_\w+)")


class InvalidSettings(UserError):
    """The environment holds a setting that cannot be used; the message names it and the remedy."""


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process.

    Raises:
        InvalidSettings: naming every variable that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as problem:
        prefix = next(group.model_config["env_prefix"] for group in _GROUPS if group.__name__ == problem.title)
        lines = [
            f"  {prefix}{'__'.join(str(part) for part in error['loc']).upper()}: {error['msg']}"
            if error["loc"]
            else f"  {error['msg']}"
            for error in problem.errors()
        ]
        raise InvalidSettings("the environment holds settings that cannot be used:\n" + "\n".join(lines)) from None
    except SettingsError as problem:  # a value that should be JSON
        raise InvalidSettings(_not_json(problem)) from None


def _not_json(problem: SettingsError) -> str:
    found = re.search(r'field "(\w+)"', str(problem))
    field = found[1] if found else ""
    job = f"M5_SAGEMAKER_{field}".upper()
    if field in JobSettings.model_fields and isinstance(JobSettings.model_fields[field].default, JobResources):
        return f"{job} is a group of settings: set {job}__INSTANCE_TYPE and the others of docs/settings.md one by one"
    named = [name for name in _known_variables() if field and name.endswith(f"_{field.upper()}")]
    names = " or ".join(name for name in named if name in os.environ) or str(problem)
    return f"{names} is not valid JSON; docs/settings.md has an example"


def unknown_variables() -> list[str]:
    """Return a line for each M5_* variable that is no setting, with the setting that it may be meant to be."""
    known = sorted(_known_variables())
    lines = []
    for name in sorted(os.environ):
        if not name.startswith("M5_") or name.partition("__")[0] in known or _OTHERS.fullmatch(name):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        lines.append(f"{name} is not a setting and is ignored" + (f"; did you mean {near[0]}?" if near else ""))
    return lines


def _known_variables() -> Iterator[str]:
    for group in _GROUPS:
        for field in group.model_fields:
            yield f"{group.model_config['env_prefix']}{field}".upper()
