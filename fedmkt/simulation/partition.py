"""The demonstration's three partners: Adult's customers split unevenly by occupation group.

A bank serves office and professional workers, a map provider people who drive, build and move
things, a retailer everybody else. Every customer goes to exactly one partner.
"""

import polars as pl

PARTNERS = ("bank", "map_provider", "retailer")

_OCCUPATIONS = {
    "bank": ("Exec-managerial", "Prof-specialty", "Sales", "Adm-clerical"),
    "map_provider": (
        "Transport-moving",
        "Craft-repair",
        "Machine-op-inspct",
        "Farming-fishing",
        "Handlers-cleaners",
    ),
}


def by_occupation(customers: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return each partner's customers. Args: customers: Adult, one row a customer."""
    occupation = pl.col("occupation")
    parts = {
        partner: customers.filter(occupation.is_in(names))
        for partner, names in _OCCUPATIONS.items()
    }
    named = [name for names in _OCCUPATIONS.values() for name in names]
    parts["retailer"] = customers.filter(~occupation.is_in(named))
    return parts
