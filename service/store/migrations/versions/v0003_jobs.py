"""Bulk jobs and the answers to their pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("file_name", sa.String(255), nullable=False),
        sa.Column("folder", sa.String(4096)),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(9), nullable=False),
        sa.Column("error_code", sa.String(50)),
        sa.Column("error_detail", sa.String(500)),
        sa.Column("total", sa.Integer),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("skipped", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_owner", "jobs", ["owner", "id"])
    op.create_index("jobs_by_end", "jobs", ["ended_at"])
    op.create_table(
        "job_items",
        sa.Column("job_id", sa.Integer, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(1024), nullable=False),
        sa.Column("unsafe_name", sa.Boolean, nullable=False),
        sa.Column("status", sa.String(7), nullable=False),
        sa.Column("code", sa.String(50)),
        sa.Column("detail", sa.String(500)),
        sa.Column("image_sha256", sa.String(64)),
        sa.Column("label", sa.String(200)),
        sa.Column("score", sa.Double),
        sa.Column("guesses", sa.JSON),
        sa.Column("truth", sa.String(255)),
        sa.Column("model_version", sa.String(100)),
    )
    op.create_index("job_items_by_label", "job_items", ["job_id", "label", "position"])
    op.create_index("job_items_by_status", "job_items", ["job_id", "status", "position"])


def downgrade() -> None:
    op.drop_table("job_items")
    op.drop_table("jobs")
