"""The programs that run inside SageMaker jobs: they read inputs, call `forecasting` and write results."""
