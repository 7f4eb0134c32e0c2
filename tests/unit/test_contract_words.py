"""What whoever signs a contract is told: all that it allows."""

from datetime import UTC, datetime

import pytest

from fedmkt.cli.contract_words import in_words
from fedmkt.contract.collaboration import (
    Cap,
    Collaboration,
    Dataset,
    KeyColumn,
    Member,
    VerticalTerms,
)
from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.frozen import Frozen


def test_whoever_signs_is_shown_every_cap_and_every_permission() -> None:
    told = "\n".join(in_words(shared_contract()))
    for said in (
        "matched with other members' by mail (column e-mail)",
        "labels: encrypted, shared_labels",
        "least overlap 40",
        "move a shown score by 2.5, in 9 levels",
        "bins under 30 customers are merged",
        "expanded from 700 shared customers",
        "sizes may be shown without noise",
        "part of a score may be shown",
        "no consent table is asked for",
        "columns: age",
        "also its audit and special columns",
        "epsilon 2 for life, 2 in 30 days, 3 runs a day, 7 exact scores, 2 alignments",
        "(delta 1e-05)",
        "cap on prospects (prospecting bank): 9 runs for life",
    ):
        assert said in told, said


OTHERWISE: dict[type[Frozen], dict[str, object]] = {
    Collaboration: {
        "name": "other", "expires": datetime(2031, 1, 1, tzinfo=UTC), "members": (),
        "coordinator": Member(name="other", key="3" * 64), "datasets": (), "caps": (),
        "bundle_hashes": ("4" * 64,),
    },
    Dataset: {
        "name": "other", "population": "drivers", "holders": ("other",),
        "uses": {"churn": ("bank",)}, "modes": ("none",), "updates_seen": True, "guarded_uses": (),
        "minimum_audience": 7, "minimum_overlap": 7, "quality_floor": 0.5, "vertical": None,
        "table": TableSchema(
            customer_key="customer", columns=(Column(name="other", kind="boolean"),)
        ),
    },
    VerticalTerms: {
        "keys": (KeyColumn(key="number", column="id", kind="own"),), "modes": ("encrypted",),
        "consent": True, "exact_sizes": False, "parts": False, "most_levels": 33,
        "most_limit": 4.0, "most_rounds": 7, "least_bin": 7, "least_seed": 7,
    },
    Cap: {
        "dataset": "other", "purpose": "churn", "requester": "other", "delta": 1e-6,
        "period_epsilon": 1.0, "period_days": 7, "lifetime_epsilon": 1.0, "uses_per_day": 7,
        "uses_per_week": 7, "uses_per_month": 7, "uses_lifetime": 7, "exact_scores_lifetime": 8,
        "alignments_lifetime": 7,
    },
}  # fmt: skip
"""Another value of each field of a contract; a new field belongs here, and into its words."""


@pytest.mark.parametrize("kind", OTHERWISE, ids=lambda kind: kind.__name__)
def test_no_field_of_a_contract_is_without_words(kind: type[Frozen]) -> None:
    # A contract of another schema version is another form, and not read.
    assert set(OTHERWISE[kind]) == set(kind.model_fields) - {"schema_version"}
    contract = shared_contract()
    told = in_words(contract)
    for field, value in OTHERWISE[kind].items():
        assert in_words(with_field(contract, kind, {field: value})) != told, field


def with_field(
    contract: Collaboration, kind: type[Frozen], new: dict[str, object]
) -> Collaboration:
    dataset, cap = contract.datasets[0], contract.caps[0]
    assert dataset.vertical is not None
    terms = dataset.vertical.model_copy(update=new)
    changed = {
        Collaboration: new,
        Dataset: {"datasets": (dataset.model_copy(update=new),)},
        VerticalTerms: {"datasets": (dataset.model_copy(update={"vertical": terms}),)},
        Cap: {"caps": (cap.model_copy(update=new), *contract.caps[1:])},
    }
    return contract.model_copy(update=changed[kind])


def shared_contract() -> Collaboration:
    dataset = {
        "name": "prospects", "population": "customers", "holders": ["bank"], "modes": ["local"],
        "uses": {"prospecting": ["bank"]},
        "table": {
            "customer_key": "customer",
            "columns": [{"name": "age", "kind": "number", "bounds": [0, 120]}],
        },
        "guarded_uses": ["prospecting"],
        "minimum_overlap": 40,
        "vertical": {
            "keys": [{"key": "mail", "column": "e-mail", "kind": "email"}],
            "modes": ["encrypted", "shared_labels"],
            "consent": False, "exact_sizes": True, "parts": True, "most_levels": 9,
            "most_limit": 2.5, "least_bin": 30, "least_seed": 700,
        },
    }  # fmt: skip
    caps = [
        {"dataset": "prospects", "lifetime_epsilon": 2, "period_epsilon": 2, "uses_per_day": 3,
         "exact_scores_lifetime": 7, "alignments_lifetime": 2},
        {"dataset": "prospects", "purpose": "prospecting", "requester": "bank",
         "uses_lifetime": 9},
    ]  # fmt: skip
    return Collaboration.model_validate(
        {
            "name": "trial", "expires": "2030-01-01T00:00:00Z", "datasets": [dataset], "caps": caps,
            "coordinator": {"name": "hub", "key": "1" * 64},
            "members": [{"name": "bank", "key": "2" * 64}],
        }
    )  # fmt: skip
