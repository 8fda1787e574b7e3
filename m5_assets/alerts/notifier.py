"""Reports to each channel what changed: the difference between current incidents and those reported so far.

No incident can be missed or sent twice, because each call compares all current incidents with the state. A channel that
fails keeps its old state, so the next call reports everything since then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from m5_assets.alerts.channels import Channel, DeliveryError
from m5_assets.alerts.incidents import Incident, Message

log = logging.getLogger("m5.alerts")


def announce(incidents: Iterable[Incident], state: str | None, channels: Sequence[Channel]) -> str:
    """Send each channel one message with what is new to it.

    Args:
        incidents: all current incidents.
        state: what the last call returned; None or empty at first.
        channels: where to send.

    Returns:
        The new state as JSON: by channel, the reported incidents that are not resolved.
    """
    now = {incident.key: incident for incident in incidents}
    reported = _parse(state)
    return json.dumps({c.name: _asdicts(_report(c, now, reported.get(c.name, {}))) for c in channels})


def _report(channel: Channel, now: Mapping[str, Incident], reported: Mapping[str, Incident]) -> Mapping[str, Incident]:
    begun = [incident for key, incident in now.items() if key not in reported]
    over = [incident for key, incident in reported.items() if key not in now]
    if begun or over:
        try:
            channel.send(Message(begun, over))
        except DeliveryError as problem:
            log.error("alerts: %s cannot be reached, will retry: %s", channel.name, problem)  # noqa: TRY400  # the reason is enough
            return reported
    return now


def _parse(state: str | None) -> dict[str, dict[str, Incident]]:
    parsed = json.loads(state) if state else {}
    return {name: {key: Incident(**fields) for key, fields in known.items()} for name, known in parsed.items()}


def _asdicts(incidents: Mapping[str, Incident]) -> dict[str, dict[str, str | None]]:
    return {key: asdict(incident) for key, incident in incidents.items()}
