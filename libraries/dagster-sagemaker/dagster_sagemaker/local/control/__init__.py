"""What AWS's control plane is to SageMaker: names, validation, status, lists, logs; runs in the caller's process.

From the outside in: `transport` (HTTP in process), `api` and `logs_api` (the operations), `models`, `listing`,
`describe`, `support` (what is refused), `launch` (a job's folder and its supervisor). Not here: running a job (`job`).
"""
