"""Report incidents to people: one message when something goes wrong, one when it is resolved.

Not here: detecting incidents (`m5_assets.automation.sensors`), and anything of Dagster.
"""

from m5_assets.alerts.channels import AppriseChannel, Channel, DeliveryError, channels_of
from m5_assets.alerts.incidents import Incident, Message
from m5_assets.alerts.notifier import announce

__all__ = ["AppriseChannel", "Channel", "DeliveryError", "Incident", "Message", "announce", "channels_of"]
