"""The defect map that comes with a sample."""

import sqlalchemy as sa
from alembic import op

revision = "0006_heat_maps"
down_revision = "0005_recipes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.add_column("sample", sa.Column("heat_map", sa.String(), nullable=True))


def downgrade() -> None:
    """Back to samples without maps."""
    with op.batch_alter_table("sample") as batch:
        batch.drop_column("heat_map")
