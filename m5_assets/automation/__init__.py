"""What runs together, when, and what it reacts to: jobs, schedules, sensors, due weeks, housekeeping, run launcher."""
