"""What a reviewer reads: the report of a study and each node's signed receipts."""
