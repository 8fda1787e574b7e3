"""Resources, the platform's access to the outside world: landing folder, lake, SageMaker, PostgreSQL."""
