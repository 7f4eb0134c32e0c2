"""The first schema: ledger, run state, replies and heads."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "ledger_accounts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("population_key", sa.Text(), nullable=False),
        sa.Column("population", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=True),
        sa.Column("requester", sa.Text(), nullable=True),
        sa.Column("window_name", sa.Text(), nullable=False),
        sa.Column("window_days", sa.Integer(), nullable=True),
        sa.Column("epsilon", sa.Double(), nullable=True),
        sa.Column("delta", sa.Double(), nullable=True),
        sa.Column("filter_order", sa.Integer(), nullable=True),
        sa.Column("budget_nano", sa.BigInteger(), nullable=True),
        sa.Column("allowed_uses", sa.Integer(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(epsilon IS NULL) <> (allowed_uses IS NULL)", name=op.f("ck_ledger_accounts_one_limit")
        ),
        sa.CheckConstraint(
            "epsilon IS NULL OR (delta IS NOT NULL AND filter_order IS NOT NULL"
            " AND budget_nano IS NOT NULL)",
            name=op.f("ck_ledger_accounts_whole_filter"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_accounts")),
        sa.UniqueConstraint("key", name=op.f("uq_ledger_accounts_key")),
    )
    op.create_index(
        op.f("ix_ledger_accounts_population_key"),
        "ledger_accounts",
        ["population_key"],
        unique=False,
    )
    op.create_table(
        "ledger_datasets",
        sa.Column("dataset_key", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("population_key", sa.Text(), nullable=False),
        sa.Column("population", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_key", name=op.f("pk_ledger_datasets")),
    )
    op.create_table(
        "member_heads",
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("member", name=op.f("pk_member_heads")),
    )
    op.create_table(
        "run_replies",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run", "step", name=op.f("pk_run_replies")),
    )
    op.create_table(
        "run_states",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_run_states")),
    )
    op.create_table(
        "ledger_reservations",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("dataset_key", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("reserved_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_key"],
            ["ledger_datasets.dataset_key"],
            name=op.f("fk_ledger_reservations_dataset_key"),
        ),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_ledger_reservations")),
    )
    op.create_index(
        op.f("ix_ledger_reservations_reserved_at"),
        "ledger_reservations",
        ["reserved_at"],
        unique=False,
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('planned', 'spent', 'returned')", name=op.f("ck_ledger_entries_known_state")
        ),
        sa.ForeignKeyConstraint(
            ["run"], ["ledger_reservations.run"], name=op.f("fk_ledger_entries_run")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("run", "release", name=op.f("uq_ledger_entries_run_release")),
    )
    op.create_index(
        op.f("ix_ledger_entries_changed_at"), "ledger_entries", ["changed_at"], unique=False
    )
    op.create_table(
        "ledger_charges",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("entry_id", sa.Integer(), nullable=False),
        sa.Column("nano", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("nano > 0", name=op.f("ck_ledger_charges_costs_something")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_accounts.id"], name=op.f("fk_ledger_charges_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["ledger_entries.id"], name=op.f("fk_ledger_charges_entry_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "entry_id", name=op.f("pk_ledger_charges")),
    )
    op.create_table(
        "ledger_uses",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_accounts.id"], name=op.f("fk_ledger_uses_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["run"], ["ledger_reservations.run"], name=op.f("fk_ledger_uses_run")
        ),
        sa.PrimaryKeyConstraint("account_id", "run", name=op.f("pk_ledger_uses")),
    )
