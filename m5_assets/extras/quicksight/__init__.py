"""QuickSight, where the business sees the forecasts on AWS.

`model` reads the definitions of `infrastructure/quicksight`, `validation` checks them without an account, `publishing`
brings them to an account, `ingestion` refreshes what it shows, `service` speaks to it. Not here: the views that are
read (`m5_assets.resources.postgres`).
"""
