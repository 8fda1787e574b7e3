"""Progress callbacks for long-running work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Progress = Callable[[str, float], None]
"""Called with a description of the last step and the share of the work that is done, 0 to 1."""


def phases(progress: Progress, efforts: Sequence[float]) -> list[Progress]:
    """Return one callback per phase of the work; each maps 0 to 1 onto the phase's share of the whole.

    Args:
        progress: callback for the whole work.
        efforts: duration of each phase, in any unit.
    """

    def phase(start: float, share: float) -> Progress:
        return lambda text, done: progress(text, start + share * done)

    total = sum(efforts)
    return [phase(sum(efforts[:place]) / total, effort / total) for place, effort in enumerate(efforts)]
