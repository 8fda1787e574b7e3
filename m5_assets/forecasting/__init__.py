"""The science: panel, features, models, ensemble and metric, with plain arrays; no Dagster, no AWS."""
