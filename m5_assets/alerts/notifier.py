"""Who has been told of what: a message is the difference between what holds now and what a channel was told.

There are no events here that could be missed or told twice: each look compares the incidents that hold with the state.
A channel that cannot be reached keeps its old state, so it is told at the next look, of all that happened since.
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
    """Tell each channel what it does not know yet, in one message.

    Args:
        incidents: all that hold now.
        state: what the last call returned; None or empty at first.
        channels: where to tell it.

    Returns:
        The new state: what each channel has been told of and still holds.
    """
    now = {incident.key: incident for incident in incidents}
    told = _parse(state)
    return json.dumps({channel.name: _asdicts(_tell(channel, now, told.get(channel.name, {}))) for channel in channels})


def _tell(channel: Channel, now: Mapping[str, Incident], told: Mapping[str, Incident]) -> Mapping[str, Incident]:
    begun = [incident for key, incident in now.items() if key not in told]
    over = [incident for key, incident in told.items() if key not in now]
    if begun or over:
        try:
            channel.send(Message(begun, over))
        except DeliveryError as problem:
            log.error("alerts: %s cannot be reached, will try again at the next look: %s", channel.name, problem)  # noqa: TRY400  # the reason suffices
            return told
    return now


def _parse(state: str | None) -> dict[str, dict[str, Incident]]:
    parsed = json.loads(state) if state else {}
    return {name: {key: Incident(**fields) for key, fields in known.items()} for name, known in parsed.items()}


def _asdicts(incidents: Mapping[str, Incident]) -> dict[str, dict[str, str | None]]:
    return {key: asdict(incident) for key, incident in incidents.items()}
