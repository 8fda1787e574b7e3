"""The sensors: new and corrected landed files, incidents to report, lost runs, orphaned SageMaker jobs."""

from m5_assets.automation.sensors.incident_alerts import alerts
from m5_assets.automation.sensors.landed_files import landed_files
from m5_assets.automation.sensors.lost_runs import lost_runs
from m5_assets.automation.sensors.orphaned_jobs import orphaned_jobs

SENSORS = [alerts, landed_files, lost_runs, orphaned_jobs]

__all__ = ["SENSORS"]
