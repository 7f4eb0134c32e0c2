"""What the contract allows a job, and how it says that a text is no contract."""

from datetime import UTC, datetime
from typing import Any

import pytest
import tomli_w
from pydantic import ValidationError

from fedmkt.contract.collaboration import (
    MOST_USES,
    Cap,
    Collaboration,
    Dataset,
    parse_collaboration,
)
from fedmkt.contract.job import Job
from fedmkt.contract.permissions import allow
from fedmkt.core.errors import (
    ColumnNotAllowed,
    ContractExpired,
    ContractInvalid,
    DatasetUnknown,
    DeltaTooLarge,
    ModeNotAllowed,
    PurposeNotAllowed,
    RequesterNotAllowed,
    TooFewMembers,
)

MEMBERS = ("bank", "map_provider", "retailer")
NOW = datetime(2027, 1, 1, tzinfo=UTC)
CONTRACT: dict[str, Any] = {
    "name": "test",
    "expires": "2028-01-01T00:00:00Z",
    "coordinator": {"name": "coordinator", "key": "f" * 64},
    "members": [{"name": name, "key": f"{place}" * 64} for place, name in enumerate(MEMBERS)],
    "caps": [{"dataset": "cards", "lifetime_epsilon": 3.0}],
    "datasets": [
        {
            "name": "cards",
            "population": "people",
            "holders": MEMBERS,
            "uses": {"prospecting": ["bank"], "churn": ["bank", "retailer"]},
            "table": {
                "customer_key": "customer",
                "target_positive": True,
                "columns": [
                    {"name": "age", "kind": "integer", "bounds": [18, 90]},
                    {"name": "sex", "kind": "boolean", "use": "audit"},
                    {"name": "smokes", "kind": "boolean", "sensitivity": "special"},
                    {"name": "buys", "kind": "boolean", "use": "target"},
                ],
            },
        }
    ],
}
JOB: dict[str, Any] = {
    "name": "job",
    "requester": "bank",
    "purpose": "prospecting",
    "dataset": "cards",
    "members": MEMBERS,
    "target": "buys",
    "features": ["age"],
    "privacy": {"epsilon": 1.0, "noise_multiplier": 5.0},
}


def asked(**changes: Any) -> Dataset:
    contract = Collaboration.model_validate(CONTRACT)
    return allow(contract, Job.model_validate(JOB | changes), member="retailer", now=NOW)


def test_each_purpose_has_requesters_of_its_own() -> None:
    assert asked(purpose="prospecting", requester="bank").name == "cards"
    assert asked(purpose="churn", requester="retailer").name == "cards"
    with pytest.raises(RequesterNotAllowed):
        asked(purpose="prospecting", requester="retailer")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"purpose": "Prospecting"}, PurposeNotAllowed),
        ({"purpose": "lookalike"}, PurposeNotAllowed),
        ({"requester": "map_provider"}, RequesterNotAllowed),
        ({"requester": "Bank"}, RequesterNotAllowed),
        ({"dataset": "loans"}, DatasetUnknown),
        ({"members": ["bank", "map_provider", "stranger"]}, DatasetUnknown),
        ({"members": ["bank", "map_provider"]}, DatasetUnknown),
        ({"members": ["bank", "retailer"]}, TooFewMembers),
        ({"privacy": {"trust": "none"}}, ModeNotAllowed),
        ({"target": "age", "features": ["smokes"]}, ColumnNotAllowed),
        ({"target": "nothing"}, ColumnNotAllowed),
        ({"features": ["nothing"]}, ColumnNotAllowed),
    ],
)
def test_what_the_contract_does_not_name_is_denied(
    changes: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        asked(**changes)


@pytest.mark.parametrize("column", ["sex", "smokes"])
def test_guarded_columns_are_features_only_where_contract_and_job_say_so(column: str) -> None:
    purpose = JOB["purpose"]
    job = {"features": ["age", column], "allow_audit_features": True}
    guarded = CONTRACT["datasets"][0] | {"guarded_uses": [purpose]}
    contract = Collaboration.model_validate(CONTRACT | {"datasets": [guarded]})
    for flag in (False, True):
        with pytest.raises(ColumnNotAllowed):
            asked(**job | {"allow_audit_features": flag})
    silent = Job.model_validate(JOB | job | {"allow_audit_features": False})
    with pytest.raises(ColumnNotAllowed):
        allow(contract, silent, member="bank", now=NOW)
    spoken = Job.model_validate(JOB | job)
    assert allow(contract, spoken, member="bank", now=NOW).name == "cards"


def test_an_epsilon_stated_at_a_larger_delta_than_the_caps_is_denied() -> None:
    with pytest.raises(DeltaTooLarge):
        asked(privacy={"epsilon": 1.0, "noise_multiplier": 8.0, "delta": 1e-4})


def test_a_target_is_no_feature_whatever_the_job_says() -> None:
    columns = [*CONTRACT["datasets"][0]["table"]["columns"]]
    columns.append({"name": "leaves", "kind": "boolean", "use": "target"})
    table = CONTRACT["datasets"][0]["table"] | {"columns": columns}
    two_targets = CONTRACT | {"datasets": [CONTRACT["datasets"][0] | {"table": table}]}
    job = Job.model_validate(JOB | {"features": ["leaves"], "allow_audit_features": True})
    with pytest.raises(ColumnNotAllowed):
        allow(Collaboration.model_validate(two_targets), job, member="bank", now=NOW)


@pytest.mark.parametrize(
    "model",
    [{"ridge": 1e-300}, {"step": (1e-300,)}, {"step": (0.7, 1e-4)}],
)
def test_a_training_setting_so_small_that_rounding_decides_is_invalid(
    model: dict[str, Any],
) -> None:
    assert Job.model_validate(JOB | {"model": {"ridge": 1e-3, "step": (1e-3,)}})
    with pytest.raises(ValidationError):
        Job.model_validate(JOB | {"model": model})


@pytest.mark.parametrize(
    "cap",
    [name for name in Cap.model_fields if name.startswith(("uses_", "exact_", "alignments_"))],
)
def test_a_counted_cap_fits_the_column_that_every_store_keeps_it_in(cap: str) -> None:
    """PostgreSQL's INTEGER ends at 2^31 - 1; a larger number would be a failure at the node."""
    assert MOST_USES < 2**31
    assert getattr(Cap.model_validate({"dataset": "cards", cap: MOST_USES}), cap) == MOST_USES
    with pytest.raises(ValidationError):
        Cap.model_validate({"dataset": "cards", cap: MOST_USES + 1})


def test_nothing_is_allowed_from_the_contracts_last_moment_on() -> None:
    contract = Collaboration.model_validate(CONTRACT)
    with pytest.raises(ContractExpired):
        allow(contract, Job.model_validate(JOB), member="bank", now=contract.expires)


@pytest.mark.parametrize("uses", [{}, {"prospecting": []}, {"": ["bank"]}])
def test_a_use_without_purpose_or_requester_is_refused(uses: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="uses"):
        Collaboration.model_validate(
            CONTRACT | {"datasets": [CONTRACT["datasets"][0] | {"uses": uses}]}
        )


def test_requesters_of_a_purpose_are_part_of_what_is_signed() -> None:
    other = CONTRACT["datasets"][0] | {"uses": {"prospecting": ["bank"], "churn": ["bank"]}}
    first = Collaboration.model_validate(CONTRACT)
    assert first.hash != Collaboration.model_validate(CONTRACT | {"datasets": [other]}).hash


def test_a_refused_contract_names_the_field_and_the_rule_and_not_the_value() -> None:
    with pytest.raises(ContractInvalid) as refused:
        parse_collaboration('name = "x"\nexpires = "hunter2"\n', source="c.toml")
    assert "expires: " in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_refusal_of_the_contract_as_a_whole_says_the_rule_alone() -> None:
    text = tomli_w.dumps(CONTRACT | {"caps": [*CONTRACT["caps"], {"dataset": "loans"}]})
    with pytest.raises(ContractInvalid, match=r"c\.toml.*: each cap names a dataset"):
        parse_collaboration(text, source="c.toml")
