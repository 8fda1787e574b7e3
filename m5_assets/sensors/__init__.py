"""What the platform notices by itself: incidents, new and corrected landed files, jobs that lost their run.

Not here: what the clock starts (`m5_assets.schedules`).
"""

from m5_assets.sensors.alerts import alerts
from m5_assets.sensors.jobs import orphaned_jobs
from m5_assets.sensors.landing import landed_files

SENSORS = [alerts, landed_files, orphaned_jobs]

__all__ = ["SENSORS"]
