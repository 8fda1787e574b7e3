"""From the lake to arrays and tables: inputs known at an origin, sales, forecasts, accuracy, weights and scales."""
