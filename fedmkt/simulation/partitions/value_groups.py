"""Groups of a column's values: one group a partner, made from sizes or written out for studies.

Guarantee: every value is in exactly one group. The written-out groups hold every value that the
bundled tables' schemas declare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from fedmkt.data.bundled import SchemaName


@dataclass(frozen=True, slots=True)
class GroupPreset:
    """Written-out groups of one column of a bundled table, one a partner, by name."""

    table: SchemaName
    column: str
    groups: Mapping[str, tuple[str, ...]]

    @property
    def values(self) -> tuple[tuple[str | None, ...], ...]:
        """Return the groups as a partition of rows takes them, in the order of partners."""
        return tuple(self.groups.values())


ADULT_BY_OCCUPATION = GroupPreset(
    "adult",
    "occupation",
    {
        "executives": ("Exec-managerial",),
        "professionals": ("Prof-specialty", "Tech-support"),
        "clerks": ("Adm-clerical",),
        "sales": ("Sales",),
        "crafts": ("Craft-repair",),
        "machines and transport": (
            "Machine-op-inspct",
            "Transport-moving",
            "Handlers-cleaners",
            "Farming-fishing",
        ),
        "services and others": (
            "Other-service",
            "Protective-serv",
            "Priv-house-serv",
            "Armed-Forces",
            "?",
        ),
    },
)
BANK_BY_JOB = GroupPreset(
    "bank_marketing",
    "job",
    {
        job: (job,)
        for job in (
            "admin.",
            "blue-collar",
            "entrepreneur",
            "housemaid",
            "management",
            "retired",
            "self-employed",
            "services",
            "student",
            "technician",
            "unemployed",
            "unknown",
        )
    },
)
PRESETS: Mapping[str, GroupPreset] = {
    "adult_by_occupation": ADULT_BY_OCCUPATION,
    "bank_by_job": BANK_BY_JOB,
}


def join_rarest(sizes: Mapping[str | None, int], groups: int) -> tuple[tuple[str | None, ...], ...]:
    """Return `groups` groups of values, the largest first: the two rarest are joined in turn.

    Args: sizes: rows of each value, at least `groups` of them, the most frequent first; that order
    breaks ties.
    """
    assert len(sizes) >= groups >= 1
    heap: list[tuple[int, int, tuple[str | None, ...]]] = [
        (rows, -place, (value,)) for place, (value, rows) in enumerate(sizes.items())
    ]
    heapify(heap)
    while len(heap) > groups:
        fewer, _, rare = heappop(heap)
        more, place, next_rare = heappop(heap)
        heappush(heap, (fewer + more, place, (*next_rare, *rare)))
    return tuple(values for _, _, values in sorted(heap, reverse=True))
