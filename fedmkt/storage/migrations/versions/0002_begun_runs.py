"""When each run began, for the number of runs a requester may begin within an hour."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "begun_runs",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_begun_runs")),
    )
    op.create_index(
        "ix_begun_runs_requester_begun_at", "begun_runs", ["requester", "begun_at"], unique=False
    )
