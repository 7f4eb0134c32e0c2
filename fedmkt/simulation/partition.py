"""The demonstration's three partners: Adult's customers split unevenly by occupation group.

A bank serves office and professional workers, a map provider people who drive, build and move
things, a retailer everybody else. Every customer goes to exactly one partner.
"""

import polars as pl

from fedmkt.data.splits import split_by_column

_OCCUPATIONS = {
    "bank": ("Exec-managerial", "Prof-specialty", "Sales", "Adm-clerical"),
    "map_provider": (
        "Transport-moving",
        "Craft-repair",
        "Machine-op-inspct",
        "Farming-fishing",
        "Handlers-cleaners",
    ),
    "retailer": (
        "Other-service",
        "Tech-support",
        "Protective-serv",
        "Priv-house-serv",
        "Armed-Forces",
        "?",
    ),
}
PARTNERS = tuple(_OCCUPATIONS)


def by_occupation(customers: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return each partner's customers. Args: customers: Adult, one row a customer.

    Raises: SettingInvalid (an occupation that Adult does not have).
    """
    return split_by_column(customers, "occupation", _OCCUPATIONS)
