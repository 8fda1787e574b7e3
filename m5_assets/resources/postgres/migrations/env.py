"""Alembic's environment script: run the revisions in the transaction that `migrate` opened."""

from alembic import context

from m5_assets.resources.postgres.schema import SCHEMA, metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table_schema=SCHEMA)
context.run_migrations()
