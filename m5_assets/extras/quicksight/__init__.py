"""QuickSight, which shows the forecasts to the business on AWS.

Definitions are read from `infrastructure/quicksight`, checked without an account, published, and refreshed after loads.
"""
