"""What the platform notices by itself: incidents, new and corrected landed files, runs and jobs that were lost.

Not here: what the clock starts (`m5_assets.schedules`).
"""

from m5_assets.sensors.alerts import alerts
from m5_assets.sensors.jobs import orphaned_jobs
from m5_assets.sensors.landing import landed_files
from m5_assets.sensors.lost_runs import lost_runs

SENSORS = [alerts, landed_files, lost_runs, orphaned_jobs]

__all__ = ["SENSORS"]
