"""Reads the settings of this process from its environment, once."""

from __future__ import annotations

from functools import lru_cache

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from m5_assets.errors import UserError
from m5_assets.settings.platform_settings import Settings


class InvalidSettings(UserError):
    """A setting is invalid; the message names it and says what is accepted."""


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process.

    Raises:
        InvalidSettings: a variable is invalid; the message names every such variable.
    """
    try:
        return Settings()
    except SettingsError as problem:
        text = f"{problem}; lists and maps are JSON, see docs/settings.md"
        raise InvalidSettings(f"invalid settings in the environment:\n  {text}") from None
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
        raise InvalidSettings("invalid settings in the environment:\n" + "\n".join(lines)) from None
