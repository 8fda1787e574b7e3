"""An incident, and the message that reports it: what happened, to which week, its effect, what to do, where to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LISTED = 12
_SUBJECT_CHARACTERS = 100  # the limit of SNS


@dataclass(frozen=True)
class Incident:
    """Something that is wrong now.

    Attributes:
        key: identifies it: the same key is the same incident.
        title: one line, for the subject.
        what: what happened, with numbers.
        effect: what it means for the forecasts.
        remedy: what to do.
        link: where to look.
        week: the forecast week it concerns, if any.
    """

    key: str
    title: str
    what: str
    effect: str
    remedy: str
    link: str
    week: str | None = None

    def text(self) -> str:
        """Return the incident as a paragraph."""
        lines = [self.title, f"  what    {self.what}"]
        if self.week:
            lines.append(f"  week    {self.week}")
        return "\n".join([*lines, f"  effect  {self.effect}", f"  do      {self.remedy}", f"  look    {self.link}"])


@dataclass(frozen=True)
class Message:
    """One message: incidents that began, and incidents that are over.

    Attributes:
        begun: incidents not reported before.
        over: reported incidents that are resolved.
    """

    begun: Sequence[Incident]
    over: Sequence[Incident]

    @property
    def subject(self) -> str:
        """One line of at most 100 characters."""
        first = (*self.begun, *self.over)[0].title
        others = len(self.begun) + len(self.over) - 1
        head = "[m5] " if self.begun else "[m5] resolved: "
        tail = f" (and {others} more)" if others else ""
        room = _SUBJECT_CHARACTERS - len(head) - len(tail)
        return head + (first if len(first) <= room else first[: room - 3] + "...") + tail

    @property
    def body(self) -> str:
        """Plain text, with at most 12 incidents in full."""
        parts = [incident.text() for incident in self.begun[:_LISTED]]
        if len(self.begun) > _LISTED:
            parts.append(f"… and {len(self.begun) - _LISTED} more incidents; all are in Dagster's UI.")
        if self.over:
            titles = "\n".join(f"  {incident.title}" for incident in self.over[:_LISTED])
            more = f"\n  … and {len(self.over) - _LISTED} more" if len(self.over) > _LISTED else ""
            parts.append(f"Resolved, nothing to do:\n{titles}{more}")
        return "\n\n".join(
            [
                *parts,
                "The runbook is docs/operations.md. One message is sent when an incident begins, one when it ends.",
            ]
        )
