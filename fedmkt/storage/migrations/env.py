"""Alembic's entry: migrates over the connection it is handed, inside the caller's transaction."""

from alembic import context

from fedmkt.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="fedmkt_schema",
)
with context.begin_transaction():
    context.run_migrations()
