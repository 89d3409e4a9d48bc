"""How Alembic runs the migrations: on the connection that the store hands it."""

from __future__ import annotations

from alembic import context

from halfmax.serve.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
