"""The control plane of the local runner: answers SageMaker's and CloudWatch Logs' operations in the caller's process.

From the outside in: `transport` (HTTP requests, answered in this process), `job_operations`, `model_operations` and
`log_operations`, their parts `unsupported_requests`, `descriptions` and `listing`, and `launch` (starts a job).
"""
