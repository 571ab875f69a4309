"""Tables of the core."""

import sqlalchemy as sa
from alembic import op

revision = "0001_core"
down_revision = None
branch_labels = None
depends_on = None


def _auditentry() -> None:
    op.create_table(
        "auditentry",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("previous_hash", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_auditentry_action", "auditentry", ["action"])
    op.create_index("ix_auditentry_subject", "auditentry", ["subject"])


def _baseline() -> None:
    op.create_table(
        "baseline",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("windows", sa.Integer(), nullable=False),
        sa.Column("start_s", sa.Float(), nullable=False),
        sa.Column("end_s", sa.Float(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("score_digest", sa.String(), nullable=True),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("proposed_at", sa.Float(), nullable=False),
        sa.Column("accepted_by", sa.String(), nullable=True),
        sa.Column("accepted_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_baseline_device", "baseline", ["device"])


def _datasetrow() -> None:
    op.create_table(
        "datasetrow",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("train", sa.Integer(), nullable=False),
        sa.Column("holdout", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_datasetrow_line", "datasetrow", ["line"])


def _device() -> None:
    op.create_table(
        "device",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("certificate_pem", sa.String(), nullable=False),
        sa.Column("hardware", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=True),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=True),
        sa.Column("last_seen", sa.Float(), nullable=True),
        sa.Column("spool_id", sa.String(), nullable=True),
        sa.Column("clone_since", sa.Float(), nullable=True),
        sa.Column("last_state_counter", sa.Integer(), nullable=False),
        sa.Column("state_payload", sa.String(), nullable=True),
        sa.Column("state", sa.JSON(), nullable=True),
        sa.Column("heartbeat", sa.JSON(), nullable=True),
        sa.Column("bad_messages", sa.Integer(), nullable=False),
        sa.Column("last_bad", sa.String(), nullable=False),
        sa.Column("false_alarms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_device_line", "device", ["line"])


def _driftcursor() -> None:
    op.create_table(
        "driftcursor",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("window", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _driftstate() -> None:
    op.create_table(
        "driftstate",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("baseline", sa.Integer(), nullable=True),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("collected", sa.JSON(), nullable=False),
        sa.Column("score_digest", sa.String(), nullable=True),
        sa.Column("score_values", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("device", "line", "camera"),
    )


def _eventrow() -> None:
    op.create_table(
        "eventrow",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("spool_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=True),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("time_s", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device", "spool_id", "number", name="event_record"),
    )
    op.create_index("event_by_device", "eventrow", ["device", "id"])
    op.create_index("ix_eventrow_digest", "eventrow", ["digest"])
    op.create_index("ix_eventrow_kind", "eventrow", ["kind"])


def _incident() -> None:
    op.create_table(
        "incident",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("parts_until_alarm", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("commanded_at", sa.Float(), nullable=True),
        sa.Column("dataset", sa.String(), nullable=True),
        sa.Column("run", sa.String(), nullable=True),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("closed_by", sa.String(), nullable=True),
        sa.Column("false_alarm", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_incident_device", "incident", ["device"])
    op.create_index("ix_incident_state", "incident", ["state"])


def _line() -> None:
    op.create_table(
        "line",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("training_config", sa.String(), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("champion", sa.String(), nullable=True),
        sa.Column("dataset", sa.String(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _partsrow() -> None:
    op.create_table(
        "partsrow",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("spool_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("first_part", sa.Integer(), nullable=False),
        sa.Column("last_part", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("accept", sa.Integer(), nullable=False),
        sa.Column("reject", sa.Integer(), nullable=False),
        sa.Column("no_decision", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device", "spool_id", "number", name="parts_record"),
    )
    op.create_index("parts_by_device", "partsrow", ["device", "first_part"])


def _runlog() -> None:
    op.create_table(
        "runlog",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_runlog_run", "runlog", ["run"])


def _sample() -> None:
    op.create_table(
        "sample",
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("spool_id", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("candidate_digest", sa.String(), nullable=True),
        sa.Column("candidate_verdict", sa.String(), nullable=True),
        sa.Column("candidate_score", sa.Float(), nullable=True),
        sa.Column("blob", sa.String(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("time_s", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("incident", sa.Integer(), nullable=True),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("labelled_by", sa.String(), nullable=True),
        sa.Column("labelled_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("sample_id", "device"),
    )
    op.create_index("ix_sample_incident", "sample", ["incident"])
    op.create_index("ix_sample_line", "sample", ["line"])
    op.create_index("ix_sample_received_at", "sample", ["received_at"])


def _streamposition() -> None:
    op.create_table(
        "streamposition",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("spool_id", sa.String(), nullable=False),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("contiguous", sa.Integer(), nullable=False),
        sa.Column("beyond", sa.JSON(), nullable=False),
        sa.Column("dropped", sa.Integer(), nullable=False),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("device", "spool_id", "stream"),
    )


def _trainingrun() -> None:
    op.create_table(
        "trainingrun",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("dataset", sa.String(), nullable=False),
        sa.Column("champion", sa.String(), nullable=True),
        sa.Column("incident", sa.Integer(), nullable=True),
        sa.Column("config", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("bundle", sa.String(), nullable=True),
        sa.Column("comparison", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_trainingrun_line", "trainingrun", ["line"])
    op.create_index("ix_trainingrun_state", "trainingrun", ["state"])


def _windowrow() -> None:
    op.create_table(
        "windowrow",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("spool_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("candidate", sa.String(), nullable=True),
        sa.Column("start_s", sa.Float(), nullable=False),
        sa.Column("end_s", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device", "spool_id", "number", name="window_record"),
    )
    op.create_index("window_by_line", "windowrow", ["line", "device", "start_s"])


def _append_only() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for act in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER auditentry_no_{act.lower()} BEFORE {act} ON auditentry "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )


_TABLES = {
    "auditentry": _auditentry,
    "baseline": _baseline,
    "datasetrow": _datasetrow,
    "device": _device,
    "driftcursor": _driftcursor,
    "driftstate": _driftstate,
    "eventrow": _eventrow,
    "incident": _incident,
    "line": _line,
    "partsrow": _partsrow,
    "runlog": _runlog,
    "sample": _sample,
    "streamposition": _streamposition,
    "trainingrun": _trainingrun,
    "windowrow": _windowrow,
}


def upgrade() -> None:
    """To this revision."""
    for create in _TABLES.values():
        create()
    _append_only()


def downgrade() -> None:
    """Back to an empty database."""
    for table in reversed(_TABLES):
        op.drop_table(table)
