"""What a file's value was refused for is said in plain words, with the key and never the value."""

import pytest
from pydantic import ValidationError

from fedmkt.contract.job import Job, parse_job
from fedmkt.core import frozen
from fedmkt.core.errors import JobInvalid
from fedmkt.core.frozen import first_problem
from fedmkt.node.settings import NodeSettings

SECRET = "Frieda-Musterfrau-4711"
JOB = {
    "name": "job",
    "requester": "bank",
    "purpose": "prospecting",
    "dataset": "prospects",
    "members": ["bank", "map_provider", "retailer"],
    "target": "income",
    "features": ["age"],
    "privacy": {"trust": "local", "epsilon": 1.0, "noise_multiplier": 5.0},
}
NODE = {"member": "bank", "datasets": {"cards": {"kind": "csv", "path": "a.csv"}}}


def problem(model, value) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    words = first_problem(caught.value)
    assert SECRET not in words
    return words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "name: it needs 1 or more characters"),
        ({"name": 3}, "name: it must be text"),
        ({"features": []}, "features: it needs 1 or more entries"),
        ({"features": SECRET}, "features: it must be a list"),
        ({"model": SECRET}, "model: it must be a table of keys"),
        ({"model": {"rounds": 2.5}}, "model.rounds: it must be a whole number"),
        ({"model": {"max_bins": 1}}, "model.max_bins: it must be at least 2"),
        ({"privacy": {"trust": SECRET}}, "privacy.trust: it must be 'local', "),
        ({"features": ["age", "age"]}, "features must differ from each other and from the target"),
    ],
)
def test_a_broken_rule_is_said_in_plain_words(change, words):
    assert problem(Job, JOB | change).startswith(words)


def test_a_key_that_lacks_is_named():
    assert problem(Job, {"name": "job"}) == "requester: it is missing"


def test_an_unknown_key_is_named_before_the_one_that_lacks_for_it():
    without = {key: value for key, value in JOB.items() if key != "target"}
    assert problem(Job, without | {"tarrget": SECRET}) == (
        "unknown key tarrget (did you mean target?)"
    )


def test_the_key_that_was_meant_is_looked_for_where_the_unknown_one_stands():
    private = JOB["privacy"] | {"epsilonn": 1.0}
    assert problem(Job, JOB | {"privacy": private}) == (
        "unknown key privacy.epsilonn (did you mean privacy.epsilon?)"
    )
    cards = {"kind": "csv", "path": "a.csv", "seperator": ";"}
    assert problem(NodeSettings, NODE | {"datasets": {"cards": cards}}) == (
        "unknown key datasets.cards.seperator (did you mean datasets.cards.separator?)"
    )
    assert problem(NodeSettings, NODE | {"xyzzy": 1}) == "unknown key xyzzy"


@pytest.mark.parametrize("longer", [{"x" * 1000: 1}, {"model": {"x" * 1000: 1}}])
def test_a_long_unknown_key_is_cut_and_compared_with_no_other(longer, monkeypatch):
    compared = []
    monkeypatch.setattr(frozen, "get_close_matches", lambda *given, **_: compared.append(given))
    assert len(problem(Job, JOB | longer)) < 250
    assert not compared


JOB_FILE = """
kind = "network"
name = "job"
requester = "bank"
purpose = "prospecting"
dataset = "prospects"
members = ["bank", "map_provider", "retailer"]
target = "income"
features = ["age"]
privacy.trust = "none"
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("model.widht = 3", "unknown key model.widht (did you mean model.width?)"),
        ("model.server.rat = 3", "unknown key model.server.rat (did you mean model.server.rate?)"),
        ("epsilon = 3", "unknown key epsilon (did you mean privacy.epsilon?)"),
        ("model.rounds = 0", "model.rounds: it must be at least 1"),
    ],
)
def test_a_job_files_key_is_named_as_the_file_has_it_with_the_nearest_right_one(line, words):
    with pytest.raises(JobInvalid) as refused:
        parse_job(f"{JOB_FILE}{line}\n", source="job.toml")
    assert refused.value.fields["problem"] == words


def test_an_unknown_kind_of_job_is_refused_with_those_there_are():
    with pytest.raises(JobInvalid, match=r"kind: it must be 'horizontal' or 'network' or .*split"):
        parse_job(JOB_FILE.replace('"network"', '"netwrk"'), source="job.toml")
