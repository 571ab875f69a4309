"""Tables of releases, distribution and rollouts."""

import sqlalchemy as sa
from alembic import op

revision = "0002_releases"
down_revision = "0001_core"
branch_labels = None
depends_on = None


def _release() -> None:
    op.create_table(
        "release",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("hardware", sa.JSON(), nullable=False),
        sa.Column("describe", sa.JSON(), nullable=False),
        sa.Column("evaluation", sa.JSON(), nullable=False),
        sa.Column("lineage", sa.JSON(), nullable=False),
        sa.Column("encodings", sa.JSON(), nullable=False),
        sa.Column("run", sa.String(), nullable=True),
        sa.Column("draft", sa.String(), nullable=True),
        sa.Column("signed_by", sa.JSON(), nullable=False),
        sa.Column("threshold", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("approved_at", sa.Float(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("refused_by", sa.String(), nullable=True),
        sa.Column("refused_reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_release_line", "release", ["line"])
    op.create_index("ix_release_run", "release", ["run"])
    op.create_index("ix_release_state", "release", ["state"])


def _encodingrow() -> None:
    op.create_table(
        "encodingrow",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("block_size", sa.Integer(), nullable=False),
        sa.Column("hashes_digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_encodingrow_bundle", "encodingrow", ["bundle"])


def _push() -> None:
    op.create_table(
        "push",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("joined", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("bytes_broadcast", sa.Integer(), nullable=False),
        sa.Column("bytes_unicast", sa.Integer(), nullable=False),
        sa.Column("unicast", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_push_bundle", "push", ["bundle"])
    op.create_index("ix_push_digest", "push", ["digest"])


def _rollout() -> None:
    op.create_table(
        "rollout",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("champion", sa.String(), nullable=True),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stage_started_at", sa.Float(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("revert_attempt", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_rollout_digest", "rollout", ["digest"])
    op.create_index("ix_rollout_line", "rollout", ["line"])
    op.create_index("ix_rollout_state", "rollout", ["state"])


def _rolloutdevice() -> None:
    op.create_table(
        "rolloutdevice",
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("assigned_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("failure", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("last_event", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "device"),
    )


def _gatedecision() -> None:
    op.create_table(
        "gatedecision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_gatedecision_rollout", "gatedecision", ["rollout"])


def _assignmentrow() -> None:
    op.create_table(
        "assignmentrow",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("rollout", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("device", "line"),
    )


_TABLES = {
    "release": _release,
    "encodingrow": _encodingrow,
    "push": _push,
    "rollout": _rollout,
    "rolloutdevice": _rolloutdevice,
    "gatedecision": _gatedecision,
    "assignmentrow": _assignmentrow,
}


def upgrade() -> None:
    """To this revision."""
    for create in _TABLES.values():
        create()


def downgrade() -> None:
    """Back to the core."""
    for table in reversed(_TABLES):
        op.drop_table(table)
