"""The programs that run inside SageMaker jobs: thin entry points that read channels, call `forecasting` and write results."""
