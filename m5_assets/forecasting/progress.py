"""How long work says how far it is. Not here: where it is said (`m5_assets.containers.contract`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Progress = Callable[[str, float], None]
"""Told what was done last, and the share of the whole work that is done, 0 to 1."""


def phases(progress: Progress, efforts: Sequence[float]) -> list[Progress]:
    """Return one `Progress` a phase of the work; each runs from 0 to 1 within its own share of the whole.

    Args:
        progress: told of the whole.
        efforts: how long each phase takes, in any unit.
    """

    def phase(start: float, share: float) -> Progress:
        return lambda text, done: progress(text, start + share * done)

    total = sum(efforts)
    return [phase(sum(efforts[:place]) / total, effort / total) for place, effort in enumerate(efforts)]
