"""A key that was written has an effect, or is refused with what it would need."""

from pathlib import Path
from typing import Any

import pytest

from fedmkt.core.errors import ScenarioInvalid
from fedmkt.simulation.scenario.effect import NEEDS, needs_of
from fedmkt.simulation.scenario.keys import all_keys, explained, never_beside
from fedmkt.simulation.scenario.loading import load_any, parse_scenario, scenario_of
from fedmkt.simulation.scenario.schema import Scenario
from fedmkt.simulation.scenario.trials import expand

SIMULATIONS = Path(__file__).parents[2] / "simulations"


def scenario(**values: Any) -> Scenario:
    return scenario_of({"name": "study", **values}, source="test")


def refused(text: str) -> str:
    with pytest.raises(ScenarioInvalid) as refusal:
        parse_scenario(text, source="study.toml")
    return str(refusal.value)


IDLE: list[tuple[str, str, str]] = [
    ("[partition]\nalpha = 0.1", "line 3, partition.alpha", "partition.kind = dirichlet"),
    ("[partition]\nskew = 2", "partition.skew", "partition.kind = quantity"),
    ("[partition]\noverlap = 0.5", "partition.overlap", "partition.kind = vertical"),
    ('[partition]\ncolumn = "race"', "partition.column", "partition.kind = column or dirichlet"),
    ("[link]\nlatency_ms = 40", "line 3, link.latency_ms", "link.mbit_s is given"),
    (
        "[participation]\nstraggler_share = 0.5\n[link]\nmbit_s = 5",
        "participation.straggler_share",
        "participation.straggler_slowdown is more than 1",
    ),
    ("[participation]\nquorum = 2", "participation.quorum", "dropout is more than 0"),
    ('[data]\nkind = "generated"\nset = "adult"', "data.set", "data.kind = bundled"),
    ("[data]\ngenerator.rows = 900", "data.generator.rows", "data.kind = generated"),
    ('[data]\npositive = "yes"', "data.positive", "data.kind = file"),
    ("[model]\ngrid_bins = 90", "model.grid_bins", "model.edges = private_quantiles"),
    (
        '[model]\nfamily = "network"\nalgorithm = "fedsgd"\nlocal_steps = 3',
        "line 5, model.local_steps",
        "model.algorithm is not fedsgd",
    ),
    (
        '[model]\nfamily = "network"\nserver.momentum = 0.5',
        "line 4, model.server.momentum",
        "model.server.rule = fedavgm",
    ),
    ("[privacy]\ndelta = 1e-6", "privacy.delta", "privacy.trust is not none"),
    ("[vertical]\nlean = 0.1", "line 3, vertical.lean", "partition.kind = vertical"),
    (
        '[partition]\nkind = "vertical"\n[vertical]\nlean = 0.1\noverlaps.retailer = 1',
        "line 5, vertical.lean",
        "partition.overlap is less than 1 or a value of vertical.overlaps is less than 1",
    ),
    (
        '[partition]\nkind = "vertical"\n[model]\nfamily = "split"\nlocal_steps = 1\nproximal = 2',
        "line 7, model.proximal",
        "model.local_steps is more than 1",
    ),
    (
        '[model]\nfamily = "network"\nalgorithm = "fedprox"\nlocal_steps = 1\nproximal = 2',
        "line 6, model.proximal",
        "model.local_steps is more than 1",
    ),
    ('[backend]\nkind = "ray"\n[sweep]\n"protocol" = ["lean"]', "backend.kind", "protocol = full"),
    ("[backend]\nworkers = 2", "backend.workers", "backend.kind = workers or ray"),
]


@pytest.mark.parametrize(("text", "key", "needs"), IDLE, ids=[key for _, key, _ in IDLE])
def test_a_key_without_effect_is_refused_with_what_it_needs(
    text: str, key: str, needs: str
) -> None:
    said = refused(f'name = "study"\n{text}\n')
    assert f"{key}: it has no effect; it needs that" in said
    assert needs in said


def test_a_key_may_have_an_effect_in_some_combinations_and_a_swept_one_has_it_in_all() -> None:
    kinds = {"partition.kind": ["iid", "dirichlet"]}
    assert len(expand(scenario(partition={"alpha": 0.1}, sweep=kinds))) == 2
    with pytest.raises(ScenarioInvalid, match=r"tried more than once; .* = dirichlet"):
        scenario(sweep=kinds | {"partition.alpha": [0.1, 1]})
    with pytest.raises(ScenarioInvalid, match=r"alpha: it has no effect; .* = dirichlet"):
        scenario(sweep={"partition.kind": ["iid", "quantity"], "partition.alpha": [0.1, 1]})


def test_what_a_swept_section_leaves_out_has_its_default() -> None:
    sets = {"data": [{"set": "adult"}, {"set": "bank_marketing"}]}
    assert len(expand(scenario(sweep=sets))) == 2
    with pytest.raises(ScenarioInvalid, match=r"needs that privacy\.trust is not none"):
        scenario(sweep={"privacy": [{"epsilon": 1}, {"epsilon": 3}]})


def test_what_a_swept_model_leaves_out_has_the_default_of_its_family() -> None:
    drawn_back = {"family": "network", "algorithm": "fedprox", "proximal": 0.1}
    assert len(expand(scenario(sweep={"model": [drawn_back, {"rounds": 3}]}))) == 2
    with pytest.raises(ScenarioInvalid, match=r"proximal: it has no effect; .*local_steps"):
        scenario(sweep={"model": [drawn_back | {"local_steps": 1}]})


def test_noise_and_none_can_be_one_sweep() -> None:
    values = {"privacy": {"epsilon": 1}, "sweep": {"privacy.trust": ["none", "local"]}}
    none, local = (trial.setting.privacy for trial in expand(scenario(**values)))
    assert (none.budget, local.budget) == (None, 1)


def test_every_need_names_keys_that_there_are() -> None:
    names = {key.name for key in all_keys()}
    known = names | {name.rpartition(".")[0] for name in names}
    for key, needs in NEEDS.items():
        for need in needs:
            either = need if isinstance(need, tuple) else (need,)
            assert {key, *(one.key for one in either)} <= known


@pytest.mark.parametrize(
    "file", sorted(SIMULATIONS.rglob("*.toml")), ids=lambda file: "/".join(file.parts[-2:])
)
def test_every_shipped_scenario_has_an_effect_in_every_key(file: Path) -> None:
    load_any(file)


def test_what_a_key_needs_is_told() -> None:
    assert needs_of("partition.alpha") == "partition.kind = dirichlet"
    assert needs_of("data.generator.rows") == "data.kind = generated"
    assert needs_of("backend.workers") == (
        "protocol = full; partition.kind is not vertical; backend.kind = workers or ray"
    )
    assert needs_of("model.rounds") == ""


def test_what_a_key_needs_is_no_key_of_another_family() -> None:
    said = {
        key.only: needs_of(key.name, never_beside(key)) for key in explained("model.local_steps")
    }
    assert said == {("network",): "model.algorithm is not fedsgd", ("split",): ""}
    (overlap,) = explained("partition.overlap")
    assert needs_of(overlap.name, never_beside(overlap)) == "partition.kind = vertical"
