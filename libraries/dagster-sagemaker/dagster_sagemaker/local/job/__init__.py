"""What an instance is to SageMaker: one job, run by a process of its own, with the standard library alone.

From the outside in: `supervisor` (the process), `processing`, `training`, `transform` with `shares`, `invocation`,
`records` and `jsonpath` (the three kinds), `run`, `cluster`, `instance` and `container` (what all jobs share),
`objects` over `folder_store` or `http_store`, `uploads` and `archive` (S3), `outcome`. Not here: who created it
(`control`).
"""
