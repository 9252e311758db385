"""Which kept images wait for a person's word, and what orders them.

Revision: 0016, after 0015.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BACKFILL = """
WITH answers AS (
    SELECT i.prediction_id, i.index, p.learner_id, p.version, p.created_at, p.results -> i.index AS answer
    FROM prediction_images i JOIN predictions p ON p.id = i.prediction_id
), read AS (
    SELECT *,
        answer ->> 'label' AS label,
        (answer ->> 'score')::float AS score,
        coalesce((answer ->> 'novelty')::float, 0) AS novelty,
        coalesce((answer ->> 'known')::boolean, true) AS is_known,
        nullif(answer #>> '{route,without,label}', answer ->> 'label') AS without,
        (SELECT coalesce(jsonb_agg(jsonb_build_object('label', t -> 'label', 'score', t -> 'score') ORDER BY n), '[]')
         FROM jsonb_array_elements(
            CASE WHEN jsonb_array_length(coalesce(answer -> 'top', '[]')) > 0
            THEN answer -> 'top' ELSE jsonb_build_array(answer) END
         ) WITH ORDINALITY AS each(t, n) WHERE n <= 5) AS top
    FROM answers WHERE answer ->> 'label' IS NOT NULL AND answer ->> 'score' IS NOT NULL
), counted AS (
    SELECT *, score - coalesce((top #>> '{1,score}')::float, least(score, 1 - score)) AS margin FROM read
)
INSERT INTO reviews (prediction_id, index, learner_id, version, top, label, score, novelty, is_known, without,
    usefulness, filename, answered_at, settled)
SELECT c.prediction_id, c.index, c.learner_id, c.version, c.top, c.label, c.score, c.novelty, c.is_known, c.without,
    greatest(least(1, greatest(0, 1 - c.margin)),
             CASE WHEN c.without IS NULL THEN 0 ELSE 0.8 END,
             CASE WHEN c.is_known THEN 0 ELSE greatest(0.5, c.novelty) END),
    c.answer ->> 'filename', c.created_at,
    CASE WHEN f.prediction_id IS NULL THEN NULL ELSE 'said' END
FROM counted c LEFT JOIN feedback f ON f.prediction_id = c.prediction_id AND f.index = c.index
"""
"""Rows of images that were kept before: how they look is not known."""


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("prediction_id", sa.Text(), primary_key=True),
        sa.Column("index", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("learner_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("top", JSONB(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("novelty", sa.Float(), nullable=False),
        sa.Column("is_known", sa.Boolean(), nullable=False),
        sa.Column("below", sa.Float()),
        sa.Column("without", sa.Text()),
        sa.Column("other_label", sa.Text()),
        sa.Column("other_version", sa.Integer()),
        sa.Column("usefulness", sa.Float(), nullable=False),
        sa.Column("filename", sa.Text()),
        sa.Column("small", sa.LargeBinary()),
        sa.Column("features", sa.LargeBinary()),
        sa.Column("features_of", sa.Text()),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled", sa.Text()),
        sa.Column("act", sa.Text()),
        sa.ForeignKeyConstraint(
            ["prediction_id", "index"],
            ["prediction_images.prediction_id", "prediction_images.index"],
            name="fk_reviews_prediction_id_prediction_images",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("settled IN ('said', 'discarded')", name="settled"),
    )
    op.execute(sa.text(BACKFILL))
    op.create_index(
        "ix_reviews_waiting",
        "reviews",
        ["learner_id", "usefulness", "prediction_id", "index"],
        postgresql_where=sa.text("settled IS NULL"),
    )
    op.create_index(
        "ix_reviews_act", "reviews", ["act"], postgresql_where=sa.text("act IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_table("reviews")
