"""What the contract allows of a job over shared customers: each rule, and its code."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fedmkt.contract.collaboration import Collaboration, VerticalTerms
from fedmkt.contract.job import parse_job_json
from fedmkt.contract.shared_permissions import allow_shared, features_of
from fedmkt.contract.vertical_jobs import SharedJob
from fedmkt.core.errors import FedmktError, JobInvalid, Refusal
from fedmkt.wire.canonical import canonical_json

MEMBERS = ("bank", "retailer", "map_provider")
NOW = datetime(2027, 1, 1, tzinfo=UTC)
EMAIL = {"key": "email", "column": "mail", "kind": "email"}
PHONE = {"key": "phone", "column": "tel", "kind": "phone", "region": "US"}
ALL_MODES = [
    "encrypted",
    "encrypted_without_noise",
    "label_private",
    "shared_labels",
]
SPLIT_MODES = ["split_label_private", "split_shared_labels"]
COLUMNS = [
    {"name": "age", "kind": "integer", "bounds": [18, 90]},
    {"name": "visits", "kind": "integer", "bounds": [0, 9]},
    {"name": "sex", "kind": "boolean", "use": "audit"},
    {"name": "smokes", "kind": "boolean", "sensitivity": "special"},
    {"name": "buys", "kind": "boolean", "use": "target"},
]


def dataset(member: str, **changes: Any) -> dict[str, Any]:
    """Return one member's dataset. vertical: changes of its vertical terms; None for no terms."""
    vertical = changes.pop("vertical", {})
    terms = {"keys": [EMAIL, PHONE], "modes": ALL_MODES + SPLIT_MODES, **(vertical or {})}
    return {
        "name": f"{member}-customers",
        "population": f"{member}-people",
        "holders": [member],
        "uses": {"prospecting": ["bank"], "churn": ["bank", "retailer"]},
        "guarded_uses": ["churn"],
        "vertical": None if vertical is None else terms,
        "table": {"customer_key": "customer", "target_positive": True, "columns": COLUMNS},
        **changes,
    }


def contract(**changes: dict[str, Any]) -> Collaboration:
    """Return a contract. changes: of a member's dataset, by the member's name."""
    return Collaboration.model_validate(
        {
            "name": "test",
            "expires": "2028-01-01T00:00:00Z",
            "coordinator": {"name": "coordinator", "key": "f" * 64},
            "members": [
                {"name": name, "key": f"{place}" * 64} for place, name in enumerate(MEMBERS)
            ],
            "caps": [
                {"dataset": f"{name}-customers", "lifetime_epsilon": 3.0, "delta": 1e-5}
                for name in MEMBERS
            ],
            "datasets": [dataset(name, **changes.get(name, {})) for name in MEMBERS],
        }
    )


def parties(*features: str, members: tuple[str, ...] = MEMBERS) -> list[dict[str, Any]]:
    return [
        {"member": one, "dataset": f"{one}-customers", "features": list(features)}
        for one in members
    ]


COMMON = {"name": "job", "requester": "bank", "purpose": "prospecting"}
COUNT = {"epsilon": 1.0, "delta": 1e-5, "noise_multiplier": 8.0}
LABELS = {"mode": "encrypted", "epsilon": 2.0, "delta": 1e-5, "noise_multiplier": 4.0}
JOBS: dict[str, dict[str, Any]] = {
    "overlap": {"parties": parties(members=MEMBERS[:2]), "key": "email", "privacy": COUNT},
    "alignment": {"parties": parties(), "keys": ["email", "phone"], "privacy": COUNT},
    "vertical": {
        "parties": parties("age", "visits"),
        "alignment": "aligned",
        "owner": "bank",
        "target": "buys",
        "labels": LABELS,
    },
    "split": {
        "parties": parties("age", "visits"),
        "alignment": "aligned",
        "owner": "bank",
        "target": "buys",
        "labels": {"mode": "split_label_private", "epsilon": 2.0, "delta": 1e-5},
    },
    "scoring": {"parties": parties(), "alignment": "aligned", "owner": "bank", "model": "trained"},
    "expansion": {
        "parties": [parties()[0], parties("age")[1]],
        "alignment": "aligned",
        "owner": "bank",
        "model": "trained",
        "privacy": COUNT,
    },
}


def job(kind: str, **changes: Any) -> SharedJob:
    stated = {"kind": kind, **COMMON, **JOBS[kind], **changes}
    found = parse_job_json(canonical_json(stated), source="test")
    assert isinstance(found, SharedJob)
    return found


def refused(made: Collaboration, asked: SharedJob, member: str = "bank") -> FedmktError:
    with pytest.raises(Refusal) as no:
        allow_shared(made, asked, member=member, now=NOW)
    return no.value


every_kind = pytest.mark.parametrize("kind", JOBS)


@every_kind
def test_a_job_within_the_contract_names_each_members_dataset(kind: str) -> None:
    asked = job(kind)
    for member in asked.members:
        allowed = allow_shared(contract(), asked, member=member, now=NOW)
        assert {one: found.name for one, found in allowed.items()} == {
            one: f"{one}-customers" for one in asked.members
        }


# --- rules of every kind of job ---------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("purpose", ["lookalike", "Prospecting", "prospecting-2"])
def test_a_purpose_that_is_not_named_exactly_is_refused(kind: str, purpose: str) -> None:
    assert refused(contract(), job(kind, purpose=purpose)).code == "purpose_not_allowed"


@every_kind
def test_a_purpose_that_one_partner_did_not_agree_to_is_refused_by_every_node(kind: str) -> None:
    made = contract(retailer={"uses": {"churn": ["bank"]}})
    for member in job(kind).members:
        no = refused(made, job(kind), member)
        assert (no.code, no.fields["dataset"]) == ("purpose_not_allowed", "retailer-customers")


@every_kind
def test_a_requester_not_named_for_the_purpose_is_refused(kind: str) -> None:
    assert refused(contract(), job(kind, requester="retailer")).code == "requester_not_allowed"


@every_kind
@pytest.mark.parametrize("member", MEMBERS[:2])
def test_without_vertical_terms_at_any_member_there_is_no_job(kind: str, member: str) -> None:
    no = refused(contract(**{member: {"vertical": None}}), job(kind))
    assert (no.code, no.fields["dataset"]) == ("vertical_not_allowed", f"{member}-customers")


@every_kind
def test_another_members_dataset_is_refused(kind: str) -> None:
    swapped = [dict(one) for one in JOBS[kind]["parties"]]
    swapped[1]["dataset"] = "bank-customers"
    assert refused(contract(), job(kind, parties=swapped)).code == "dataset_unknown"


@every_kind
def test_a_dataset_the_contract_does_not_know_is_refused(kind: str) -> None:
    swapped = [dict(one) for one in JOBS[kind]["parties"]]
    swapped[1]["dataset"] = "elsewhere"
    assert refused(contract(), job(kind, parties=swapped)).code == "dataset_unknown"


@every_kind
def test_a_node_that_is_no_party_refuses(kind: str) -> None:
    assert refused(contract(), job(kind), "coordinator").code == "dataset_unknown"


@every_kind
def test_nothing_is_allowed_from_the_contracts_last_moment_on(kind: str) -> None:
    made = contract()
    with pytest.raises(Refusal) as no:
        allow_shared(made, job(kind), member="bank", now=made.expires)
    assert no.value.code == "contract_expired"


# --- keys and sizes ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["overlap", "alignment"])
def test_a_key_that_a_member_lacks_is_refused(kind: str) -> None:
    no = refused(contract(retailer={"vertical": {"keys": [PHONE]}}), job(kind))
    assert (no.code, no.fields["dataset"]) == ("vertical_not_allowed", "retailer-customers")
    assert "no key email" in str(no)


@pytest.mark.parametrize("kind", ["overlap", "alignment"])
def test_a_key_that_is_of_another_kind_elsewhere_is_refused(kind: str) -> None:
    other = {"keys": [{**EMAIL, "kind": "own"}, PHONE]}
    no = refused(contract(retailer={"vertical": other}), job(kind))
    assert no.code == "vertical_not_allowed"
    assert "another kind" in str(no)


@pytest.mark.parametrize("lacking", MEMBERS)
def test_exact_sizes_need_every_members_word(lacking: str) -> None:
    exact = job("alignment", exact_sizes=True, privacy=None)
    allowing = {one: {"vertical": {"exact_sizes": True}} for one in MEMBERS}
    assert allow_shared(contract(**allowing), exact, member="bank", now=NOW)
    no = refused(contract(**{**allowing, lacking: {}}), exact)
    assert (no.code, no.fields["dataset"]) == ("vertical_not_allowed", f"{lacking}-customers")


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("overlap", "privacy"),
        ("alignment", "privacy"),
        ("expansion", "privacy"),
        ("vertical", "labels"),
        ("split", "labels"),
    ],
)
def test_a_delta_over_the_caps_is_refused(kind: str, place: str) -> None:
    larger = {**JOBS[kind][place], "delta": 1e-4}
    no = refused(contract(), job(kind, **{place: larger}))
    assert no.code == "delta_too_large"


# --- training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", MEMBERS)
@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_mode_needs_every_members_word(mode: str, lacking: str) -> None:
    labels = {
        "mode": mode,
        "epsilon": 2.0 if mode in ("encrypted", "label_private") else None,
        "noise_multiplier": 4.0 if mode == "encrypted" else None,
    }
    others = [one for one in ALL_MODES + SPLIT_MODES if one != mode]
    no = refused(
        contract(**{lacking: {"vertical": {"modes": others}}}), job("vertical", labels=labels)
    )
    assert (no.code, no.fields["dataset"]) == ("mode_not_allowed", f"{lacking}-customers")


@pytest.mark.parametrize("lacking", MEMBERS)
@pytest.mark.parametrize("mode", SPLIT_MODES)
def test_a_split_mode_needs_every_members_word_and_no_other_stands_for_it(
    mode: str, lacking: str
) -> None:
    labels = {"mode": mode, "epsilon": 2.0 if mode == "split_label_private" else None}
    asked = job("split", labels=labels)
    assert allow_shared(contract(), asked, member="bank", now=NOW)
    others = [one for one in ALL_MODES + SPLIT_MODES if one != mode]
    no = refused(contract(**{lacking: {"vertical": {"modes": others}}}), asked)
    assert (no.code, no.fields["dataset"]) == ("mode_not_allowed", f"{lacking}-customers")


@pytest.mark.parametrize("lacking", MEMBERS)
def test_the_rounds_of_a_split_training_are_agreed_too(lacking: str) -> None:
    made = contract(**{lacking: {"vertical": {"most_rounds": 5}}})
    assert allow_shared(made, job("split", model={"rounds": 5}), member="bank", now=NOW)
    no = refused(made, job("split", model={"rounds": 6}))
    assert (no.code, no.fields["dataset"]) == ("vertical_not_allowed", f"{lacking}-customers")


@pytest.mark.parametrize("column", ["sex", "smokes", "elsewhere"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_split_training_has_no_guarded_or_undeclared_column(column: str, place: int) -> None:
    asked = parties("age")
    asked[place] = {**asked[place], "features": [column]}
    assert refused(contract(), job("split", parties=asked)).code == "column_not_allowed"


def test_a_split_training_predicts_a_declared_target_alone() -> None:
    asked = job("split", target="visits", parties=parties("age"))
    assert refused(contract(), asked).code == "column_not_allowed"


def test_terms_that_say_nothing_of_modes_allow_the_encrypted_one_alone() -> None:
    assert VerticalTerms.model_validate({"keys": [EMAIL]}).modes == ("encrypted",)


@pytest.mark.parametrize("lacking", MEMBERS)
@pytest.mark.parametrize(
    ("name", "most", "agreed", "over"),
    [
        ("levels", "most_levels", 33, 34),
        ("limit", "most_limit", 4.0, 4.1),
        ("rounds", "most_rounds", 5, 6),
    ],
)
def test_a_limit_holds_at_every_member_and_up_to_its_value(
    name: str, most: str, agreed: float, over: float, lacking: str
) -> None:
    generous = {"most_levels": 101, "most_limit": 10.0, "most_rounds": 15}
    terms = {one: {"vertical": dict(generous)} for one in MEMBERS}
    terms[lacking]["vertical"][most] = agreed
    made = contract(**terms)
    base = {"levels": 33, "limit": 4.0, "rounds": 5}
    assert allow_shared(made, job("vertical", model={**base, name: agreed}), member="bank", now=NOW)
    no = refused(made, job("vertical", model={**base, name: over}))
    assert (no.code, no.fields["dataset"]) == ("vertical_not_allowed", f"{lacking}-customers")
    assert name in str(no)


@pytest.mark.parametrize("column", ["sex", "smokes"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_guarded_column_needs_the_contracts_word_and_the_jobs(column: str, place: int) -> None:
    asked = parties("age")
    asked[place] = {**asked[place], "features": ["age", column]}
    for purpose, says, allowed in (
        ("prospecting", False, False),
        ("prospecting", True, False),
        ("churn", False, False),
        ("churn", True, True),
    ):
        this = job("vertical", parties=asked, purpose=purpose, allow_audit_features=says)
        if allowed:
            assert allow_shared(contract(), this, member="bank", now=NOW)
        else:
            assert refused(contract(), this).code == "column_not_allowed"


def test_an_expansion_has_no_guarded_columns_at_all() -> None:
    asked = [parties()[0], parties("age", "sex")[1]]
    for purpose in ("prospecting", "churn"):
        this = job("expansion", parties=asked, purpose=purpose)
        assert refused(contract(), this).code == "column_not_allowed"


@pytest.mark.parametrize("target", ["age", "sex", "unknown"])
def test_a_label_column_that_is_not_declared_as_one_is_refused(target: str) -> None:
    no = refused(contract(), job("vertical", target=target, parties=parties("visits")))
    assert (no.code, no.fields["column"]) == ("column_not_allowed", target)


@pytest.mark.parametrize("feature", ["buys", "unknown", "Age"])
def test_a_partners_target_or_undeclared_column_is_no_feature(feature: str) -> None:
    asked = parties("age")
    asked[1] = {**asked[1], "features": [feature]}
    this = job("vertical", parties=asked, allow_audit_features=True, purpose="churn")
    assert refused(contract(), this).code == "column_not_allowed"


# --- scoring ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", MEMBERS[1:])
def test_parts_of_scores_need_every_partners_word(lacking: str) -> None:
    shown = {one: {"vertical": {"parts": True}} for one in MEMBERS[1:]}
    asked = job("scoring", parts=True)
    assert allow_shared(contract(**shown), asked, member="bank", now=NOW)
    no = refused(contract(**{**shown, lacking: {}}), asked)
    assert (no.code, no.fields["dataset"]) == ("vertical_not_allowed", f"{lacking}-customers")


def test_totals_need_no_word_on_parts() -> None:
    assert allow_shared(contract(), job("scoring"), member="bank", now=NOW)


# --- the forms of jobs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("vertical", {"owner": "retailer"}),
        ("vertical", {"parties": parties("age", members=("bank", "retailer", "retailer"))}),
        ("vertical", {"parties": [parties("age")[0], parties()[1]]}),
        ("vertical", {"parties": parties("buys")}),
        ("vertical", {"parties": parties("age", "age")}),
        ("vertical", {"labels": {"mode": "encrypted"}}),
        ("vertical", {"labels": {"mode": "shared_labels", "epsilon": 1.0}}),
        (
            "vertical",
            {"labels": {"mode": "label_private", "epsilon": 1.0, "noise_multiplier": 1.0}},
        ),
        ("overlap", {"parties": parties()}),
        ("alignment", {"keys": ["email", "email"]}),
        ("alignment", {"exact_sizes": True}),
        ("alignment", {"privacy": None}),
        ("alignment", {"keys": ["email", "phone", "card"]}),
        ("vertical", {"model": {"limit": 1e-4}}),
        ("vertical", {"model": {"ridge": 1e-300}}),
        ("vertical", {"model": {"step": (1e-300,)}}),
        ("expansion", {"clip": 1e-4}),
        ("expansion", {"ridge": 1e-300}),
        ("expansion", {"parties": parties("age")}),
        ("expansion", {"parties": parties(members=MEMBERS[:2])}),
    ],
)
def test_a_job_of_a_form_that_no_run_has_is_invalid(kind: str, changes: dict[str, Any]) -> None:
    with pytest.raises(JobInvalid):
        job(kind, **changes)


def test_features_are_those_of_the_members_own_party() -> None:
    asked = job("vertical")
    assert features_of(asked, "retailer") == ("age", "visits")
    assert features_of(asked, "coordinator") == ()
