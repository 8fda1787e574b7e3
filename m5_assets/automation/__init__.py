"""Everything that starts or follows runs: jobs, schedules, sensors, and the run launcher.

`jobs` groups assets into what runs together; `schedules` and `sensors` request runs of them; `due_weeks` says for which
weeks, and `housekeeping` what is deleted.
"""
