"""The stores on disk: a node's ledger, runs and audit log, and the coordinator's journal."""
