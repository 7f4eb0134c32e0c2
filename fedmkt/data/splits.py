"""Splitting one table among partners, for simulations and examples.

Guarantee: every row goes to exactly one partner. Not guaranteed: that the parts resemble anything
that partners would hold; overlap and unevenness made here are synthetic and are to be called so.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from fedmkt.core.errors import SettingInvalid


def split_by_column(
    frame: pl.DataFrame, column: str, groups: Mapping[str, Sequence[str]]
) -> dict[str, pl.DataFrame]:
    """Return the rows of each partner: those whose `column` holds one of the partner's values.

    Raises: SettingInvalid (a value given to two partners, or rows given to none).
    """
    owner: dict[str, str] = {}
    for partner, values in groups.items():
        for value in values:
            if owner.setdefault(value, partner) != partner:
                raise SettingInvalid(
                    setting=f"groups of {column}",
                    problem=f"{value} is given to {owner[value]} and to {partner}",
                )
    owners = frame.get_column(column).cast(pl.String).replace_strict(owner, default=None)
    nobody = owners.null_count()
    if nobody:
        raise SettingInvalid(
            setting=f"groups of {column}", problem=f"{nobody} rows belong to no partner"
        )
    return {partner: frame.filter(owners == partner) for partner in groups}
