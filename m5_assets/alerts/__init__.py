"""Telling people of incidents: one message when something goes wrong, one when it is over.

`incidents` says what an incident is and how it reads, `channels` how a message is sent, `notifier` who has been told of
what. Not here: what is an incident (`m5_assets.automation.sensors`), and anything of Dagster.
"""

from m5_assets.alerts.channels import Channel, channels_of
from m5_assets.alerts.incidents import Incident, Message
from m5_assets.alerts.notifier import announce

__all__ = ["Channel", "Incident", "Message", "announce", "channels_of"]
