"""Alembic's entry: runs on the connection that `fleet_server.db.migrate` hands over."""

from alembic import context

from fleet_server.db.models import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
