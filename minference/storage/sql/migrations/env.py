"""Run by alembic: applies revisions on the connection that whoever calls alembic holds."""

from alembic import context

from minference.storage.sql.migrations import VERSION_TABLE
from minference.storage.sql.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
