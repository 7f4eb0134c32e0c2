"""Simulated collaborations: the very node and coordinator that are deployed, in one process."""
