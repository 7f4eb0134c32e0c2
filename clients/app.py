"""Flower's ClientApp of fedmkt; what it does is in the installed package."""

from fedmkt.node.app import app as _app

app = _app
