"""What protects served pages: allowed hosts, response headers, and the guard in front of Dagster's webserver."""
