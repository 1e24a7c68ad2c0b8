"""Uncertain answers whose pictures are kept for review, and what reviewers decided."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "review",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("image_sha256", sa.String(64), nullable=False),
        sa.Column("image_file_name", sa.String(255), nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("margin", sa.Double, nullable=False),
        sa.Column("entropy", sa.Double, nullable=False),
        sa.Column("model_name", sa.String(100), nullable=False),
        sa.Column("model_version", sa.String(100), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("review_by_image", "review", ["image_sha256"])
    op.create_index("review_by_user", "review", ["user_id"])
    op.create_index("review_by_margin", "review", ["margin"])
    op.add_column("feedback", sa.Column("reviewed", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("feedback", "reviewed")
    op.drop_table("review")
