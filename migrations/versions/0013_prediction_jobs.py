"""Prediction jobs: many images predicted behind the requests' backs.

Revision: 0013, after 0012.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prediction_jobs",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column(
            "learner_id",
            sa.Text(),
            sa.ForeignKey("learners.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("query", JSONB(), nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=False),
        sa.Column("n_images", sa.Integer(), nullable=False),
        sa.Column("n_done", sa.Integer(), nullable=False),
        sa.Column("n_problems", sa.Integer(), nullable=False),
        sa.Column("n_unknown", sa.Integer(), nullable=False),
        sa.Column("n_changed", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("served_at", sa.DateTime(timezone=True)),
        sa.Column("n_lost", sa.Integer(), nullable=False),
        sa.Column("error", JSONB()),
        sa.Column("key_id", sa.Text()),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "status IN ('cancelled', 'failed', 'queued', 'running', 'succeeded')", name="status"
        ),
        sa.CheckConstraint("source IN ('upload', 'predictions', 'samples')", name="source"),
    )
    op.create_index(
        "ix_prediction_jobs_learner_id_created_at", "prediction_jobs", ["learner_id", "created_at"]
    )
    op.create_index(
        "ix_prediction_jobs_status_served_at", "prediction_jobs", ["status", "served_at"]
    )
    op.create_table(
        "prediction_job_images",
        sa.Column(
            "job_id",
            sa.Text(),
            sa.ForeignKey("prediction_jobs.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("index", sa.Integer(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("blob_sha256", sa.Text()),
        sa.Column("prediction_id", sa.Text()),
        sa.Column("prediction_index", sa.Integer()),
        sa.Column("sample_id", sa.Text()),
        sa.Column("before", JSONB()),
        sa.Column("result", JSONB()),
        sa.Column("label", sa.Text()),
        sa.Column("is_known", sa.Boolean()),
        sa.Column("is_changed", sa.Boolean()),
    )
    op.create_index(
        "ix_prediction_job_images_blob_sha256", "prediction_job_images", ["blob_sha256"]
    )
    op.create_index(
        "ix_prediction_job_images_waiting",
        "prediction_job_images",
        ["job_id", "index"],
        postgresql_where=sa.text("result IS NULL"),
    )
    op.execute(
        "CREATE TRIGGER prediction_jobs_are_heard AFTER INSERT ON prediction_jobs FOR EACH ROW "
        "EXECUTE FUNCTION notify_listeners('filopodia_jobs')"
    )


def downgrade() -> None:
    op.drop_table("prediction_job_images")
    op.drop_table("prediction_jobs")
