"""Alembic revisions of the schema `m5`, run by `m5_assets.resources.postgres.migrate`.

A released revision is frozen, so it imports nothing from the platform.
"""
