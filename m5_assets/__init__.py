"""Weekly sales forecasts for retail, as a Dagster asset graph with SageMaker jobs behind its heavy assets."""
