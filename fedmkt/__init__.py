"""fedmkt: audience models across companies, without moving customer data."""

__version__ = "0.1.0"
