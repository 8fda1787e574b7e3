"""Alembic's revisions of the schema `m5`, run by `m5_assets.resources.postgres.migrate`.

A revision is frozen once it is released: it imports nothing of the platform that may change.
"""
