"""The share of a station's parts that a canary judges."""

import sqlalchemy as sa
from alembic import op

revision = "0004_shares"
down_revision = "0003_triggers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.add_column("assignmentrow", sa.Column("share", sa.Float(), nullable=True))


def downgrade() -> None:
    """Back to canaries of whole stations."""
    with op.batch_alter_table("assignmentrow") as batch:
        batch.drop_column("share")
