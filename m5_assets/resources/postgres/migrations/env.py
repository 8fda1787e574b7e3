"""Alembic runs this for every command: on the connection, and in the transaction, that `migrate` gives."""

from alembic import context

from m5_assets.resources.postgres.schema import SCHEMA, metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table_schema=SCHEMA)
context.run_migrations()
