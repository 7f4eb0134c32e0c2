"""The tables of a node's store. Times are microseconds since 1970 in UTC, costs nano-RDP.

Guarantee: keys, states and signs are checked by the database itself. What the rows mean is
said by the stores that write them; nothing here is a customer's row or value.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Keys hold folded names (see privacy.accounts.fold), the other columns names as written.
datasets = sa.Table(
    "ledger_datasets",
    metadata,
    sa.Column("dataset_key", sa.Text, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("population_key", sa.Text, nullable=False),
    sa.Column("population", sa.Text, nullable=False),
)

accounts = sa.Table(
    "ledger_accounts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("population_key", sa.Text, nullable=False, index=True),
    sa.Column("population", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text),
    sa.Column("purpose", sa.Text),
    sa.Column("requester", sa.Text),
    sa.Column("window_name", sa.Text, nullable=False),
    sa.Column("window_days", sa.Integer),
    sa.Column("epsilon", sa.Double),
    sa.Column("delta", sa.Double),
    sa.Column("filter_order", sa.Integer),
    sa.Column("budget_nano", sa.BigInteger),
    sa.Column("allowed_uses", sa.Integer),
    sa.Column("opened_at", sa.BigInteger, nullable=False),
    sa.CheckConstraint("(epsilon IS NULL) <> (allowed_uses IS NULL)", name="one_limit"),
    sa.CheckConstraint(
        "epsilon IS NULL OR (delta IS NOT NULL AND filter_order IS NOT NULL"
        " AND budget_nano IS NOT NULL)",
        name="whole_filter",
    ),
)

reservations = sa.Table(
    "ledger_reservations",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("requester", sa.Text, nullable=False),
    sa.Column("dataset_key", sa.Text, sa.ForeignKey("ledger_datasets.dataset_key"), nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("reserved_at", sa.BigInteger, nullable=False, index=True),
)

entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.Text, sa.ForeignKey("ledger_reservations.run"), nullable=False),
    sa.Column("release", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("changed_at", sa.BigInteger, nullable=False, index=True),
    sa.UniqueConstraint("run", "release"),
    sa.CheckConstraint("state IN ('planned', 'spent', 'returned')", name="known_state"),
)

charges = sa.Table(
    "ledger_charges",
    metadata,
    sa.Column("account_id", sa.Integer, sa.ForeignKey("ledger_accounts.id"), primary_key=True),
    sa.Column("entry_id", sa.Integer, sa.ForeignKey("ledger_entries.id"), primary_key=True),
    sa.Column("nano", sa.BigInteger, nullable=False),
    sa.CheckConstraint("nano > 0", name="costs_something"),
)

uses = sa.Table(
    "ledger_uses",
    metadata,
    sa.Column("account_id", sa.Integer, sa.ForeignKey("ledger_accounts.id"), primary_key=True),
    sa.Column("run", sa.Text, sa.ForeignKey("ledger_reservations.run"), primary_key=True),
)

begun_runs = sa.Table(
    "begun_runs",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("requester", sa.Text, nullable=False),
    sa.Column("begun_at", sa.BigInteger, nullable=False),
    sa.Index("ix_begun_runs_requester_begun_at", "requester", "begun_at"),
)

run_states = sa.Table(
    "run_states",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

run_replies = sa.Table(
    "run_replies",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("request_hash", sa.Text, nullable=False),
    sa.Column("reply", sa.LargeBinary, nullable=False),
)

member_heads = sa.Table(
    "member_heads",
    metadata,
    sa.Column("member", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
