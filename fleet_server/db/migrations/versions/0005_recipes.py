"""Baselines by recipe: what is carried from window to window is keyed by it too."""

import sqlalchemy as sa
from alembic import op

revision = "0005_recipes"
down_revision = "0004_shares"
branch_labels = None
depends_on = None

_CARRIED = (
    "device", "line", "camera", "baseline", "features", "collected", "score_digest",
    "score_values", "updated_at",
)  # fmt: skip


def _table(name: str, *, recipe: bool) -> None:
    """`driftstate` under another name: a primary key cannot be widened in place everywhere."""
    keys = ["device", "line", "camera", *(["recipe"] if recipe else [])]
    op.create_table(
        name,
        *(sa.Column(key, sa.String(), nullable=False) for key in keys),
        sa.Column("baseline", sa.Integer(), nullable=True),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("collected", sa.JSON(), nullable=False),
        sa.Column("score_digest", sa.String(), nullable=True),
        sa.Column("score_values", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint(*keys),
    )


def upgrade() -> None:
    """To this revision: all that is there belongs to lines without a recipe."""
    op.add_column("baseline", sa.Column("recipe", sa.String(), nullable=False, server_default=""))
    _table("driftstate_by_recipe", recipe=True)
    names = ", ".join(_CARRIED)
    op.execute(
        f"INSERT INTO driftstate_by_recipe ({names}, recipe) SELECT {names}, '' FROM driftstate"
    )
    op.drop_table("driftstate")
    op.rename_table("driftstate_by_recipe", "driftstate")


def downgrade() -> None:
    """Back to one baseline for a camera: those of recipes are lost."""
    _table("driftstate_by_camera", recipe=False)
    names = ", ".join(_CARRIED)
    op.execute(
        f"INSERT INTO driftstate_by_camera ({names}) SELECT {names} FROM driftstate"
        " WHERE recipe = ''"
    )
    op.drop_table("driftstate")
    op.rename_table("driftstate_by_camera", "driftstate")
    op.execute("DELETE FROM baseline WHERE recipe <> ''")
    with op.batch_alter_table("baseline") as batch:
        batch.drop_column("recipe")
