"""The data plane of the local runner: runs one job in a process of its own, with the standard library only.

From the outside in: `supervisor` (the process); `processing`, `training`, and `transform` with `transform_shares`,
`invocation`, `records` and `jsonpath` (the three kinds); `job_run`, `cluster`, `instance`, `container` and `outcome`
(shared by all kinds); `s3_objects` over `folder_store` or `http_store`, `continuous_uploads`, `model_archive` (S3).
"""
