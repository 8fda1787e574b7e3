"""What the platform notices by itself: incidents, new and corrected landed files, jobs that lost their run.

Not here: what the clock starts (`m5_assets.schedules`).
"""

from m5_assets.sensors.alerts import alerts

SENSORS = [alerts]

__all__ = ["SENSORS"]
