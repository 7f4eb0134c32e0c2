"""Flower's ServerApp of fedmkt; what it does is in the installed package."""

from fedmkt.coordinator.app import app as _app

app = _app
