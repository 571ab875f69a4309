"""Causes and checkpoints of runs, schedules of lines, counts of dataset versions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003_triggers"
down_revision = "0002_releases"
branch_labels = None
depends_on = None


def _columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "trainingrun": [
            # Rows that are there already have no cause, no figure and no checkpoint.
            sa.Column("causes", sa.JSON(), nullable=False, server_default="[]"),
            sa.Column("checkpoint", sa.String(), nullable=True),
            sa.Column("checkpoint_bytes", sa.Integer(), nullable=False, server_default="0"),
            sa.Column("checkpoint_at", sa.Float(), nullable=True),
        ],
        "sample": [sa.Column("dataset", sa.String(), nullable=True)],
        "datasetrow": [sa.Column("counts", sa.JSON(), nullable=False, server_default="{}")],
    }


def upgrade() -> None:
    """To this revision."""
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    op.create_table(
        "linetrigger",
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("schedule", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("line"),
    )


def downgrade() -> None:
    """Back to the tables of releases."""
    op.drop_table("linetrigger")
    for table, columns in _columns().items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_column(column.name)
