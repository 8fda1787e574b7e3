"""The outside world: the landing folder, the lake, SageMaker, PostgreSQL."""
