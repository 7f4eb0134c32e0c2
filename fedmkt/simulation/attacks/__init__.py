"""Attacks on what a training shows, each measured as one figure."""
