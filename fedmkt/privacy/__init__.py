"""What a release costs: events, filter, accounting, calibration, noise and the ledger's rules."""
