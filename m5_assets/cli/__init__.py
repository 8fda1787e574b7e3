"""The `m5` command line: what the `dagster` command line does not offer, one module per command."""
