"""Scenarios: a file that says what to simulate, and the sweep over it."""
