"""The feedback table. A revision is history: never edit one that has been released, add the next."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("image_sha256", sa.String(64)),
        sa.Column("image_file_name", sa.String(255), nullable=False),
        sa.Column("predicted_class", sa.String(200), nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("feedback", sa.String(2000), nullable=False),
        sa.Column("verdict", sa.String(5)),
        sa.Column("correct_label", sa.String(200)),
        sa.Column("comment", sa.String(2000)),
        sa.Column("model_name", sa.String(100)),
        sa.Column("model_version", sa.String(100)),
        sa.Column("image_kept", sa.Boolean, nullable=False),
        sa.UniqueConstraint("owner", "idempotency_key", name="feedback_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("feedback_by_owner", "feedback", ["owner", "id"])
    op.create_index("feedback_by_image", "feedback", ["image_sha256"])


def downgrade() -> None:
    op.drop_table("feedback")
