"""What runs over shared customers leave at a node, as its own people read it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from end_to_end.shared_world import (
    FINE,
    OWNER,
    alignment_job,
    expansion_job,
    home_of,
    parties_of,
    run,
    scoring_job,
    terms_for,
    training_job,
    world_of,
)
from typer.testing import CliRunner

from fedmkt.cli.commands import app
from fedmkt.core.errors import CustomerUnknown, FedmktError, ResultUnknown, RunFinished
from fedmkt.node.alignments import read_alignment
from fedmkt.node.model_parts import read_part, read_table
from fedmkt.node.reasons import reasons
from fedmkt.simulation.vertical_partition import PartyData
from fedmkt.simulation.world import World

PARTNERS = ("retailer", "map_provider")
RUNNER = CliRunner()
FOLDERS = ("alignments", "parts", "value", "scores", "segments")


@pytest.fixture(scope="module")
def parties() -> dict[str, PartyData]:
    found = parties_of(700)
    return {member: found[member] for member in (OWNER, *PARTNERS)}


@pytest.fixture(scope="module")
def world(
    parties: dict[str, PartyData], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    made = world_of(tmp_path_factory.mktemp("results"), parties, terms_for(parties, noised=False))
    run(made, alignment_job(PARTNERS), "alignment")
    run(made, training_job(parties, PARTNERS), "joint")
    run(made, scoring_job("joint", PARTNERS, parts=True), "scored")
    yield made
    made.close()


def said(world: World, *words: str, member: str | None = None) -> str:
    home = world.folder if member is None else world.node(member)
    result = RUNNER.invoke(app, ["result", *words, "--home", str(home)])
    if isinstance(result.exception, FedmktError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_an_alignments_counts_are_shown_for_each_member(world: World) -> None:
    output = said(world, "alignment", "alignment")
    for member in (OWNER, *PARTNERS):
        counts = read_alignment(home_of(world, member), "alignment").counts
        line = next(line for line in output.splitlines() if line.strip().startswith(member))
        assert f"{counts.opted_out:,}" in line
        assert f"{counts.duplicates:,}" in line


def test_the_value_report_is_shown_in_words(world: World) -> None:
    output = said(world, "value", "joint")
    assert "retailer and map_provider:" in output
    assert "lift in the top tenth" in output
    assert "encrypted_without_noise" in output


def test_the_value_report_lies_at_the_owner_alone(world: World) -> None:
    for partner in PARTNERS:
        with pytest.raises(ResultUnknown):
            said(world, "value", "joint", member=partner)


def test_reasons_are_what_counts_in_the_score_and_add_up_to_it(
    world: World, parties: dict[str, PartyData]
) -> None:
    """Coarse levels: what is explained must be what was rounded, not what stood before."""
    coarse = FINE.model_copy(update={"levels": 33, "limit": 4.0})
    run(world, training_job(parties, PARTNERS, settings=coarse), "coarse")
    run(world, scoring_job("coarse", PARTNERS, parts=True), "coarse-scored")
    shown = read_table(home_of(world, OWNER), "scores", "coarse-scored")
    homes = {member: home_of(world, member) for member in (OWNER, "map_provider")}
    keys = {m: read_alignment(home, "alignment").customer_keys for m, home in homes.items()}
    for place in range(20):
        row = shown.filter(shown["customer"] == keys[OWNER][place])
        for member, column in ((OWNER, "own part"), ("map_provider", "part of map_provider")):
            found = reasons(homes[member], "coarse", keys[member][place])
            sizes = [abs(one.effect) for one in found[:-1]]
            assert sizes == sorted(sizes, reverse=True)
            assert abs(sum(one.effect for one in found) - row[column].item()) < 1e-9
    named = {
        one.feature for one in reasons(homes["map_provider"], "coarse", keys["map_provider"][0])
    }
    assert named == {"education", "occupation", "native_country", ""}


def test_reasons_are_said_in_the_words_of_the_schema(world: World) -> None:
    home = home_of(world, "map_provider")
    customer = read_alignment(home, "alignment").customer_keys[0]
    output = said(world, "why", "joint", customer, member="map_provider")
    assert output.startswith("because ")
    assert "education is " in output


def test_a_customer_nobody_knows_has_no_reasons(world: World) -> None:
    with pytest.raises(CustomerUnknown):
        said(world, "why", "joint", "nobody", member="map_provider")


def test_the_highest_scores_come_first(world: World) -> None:
    output = said(world, "scores", "scored", "--top", "3", member=OWNER)
    best = read_table(home_of(world, OWNER), "scores", "scored")["customer"][0]
    lines = [line for line in output.splitlines() if "B-" in line]
    assert len(lines) == 3
    assert best in lines[0]


def test_results_are_readable_by_their_owner_alone(world: World) -> None:
    for member in (OWNER, *PARTNERS):
        kept = [path for folder in FOLDERS for path in (world.node(member) / folder).glob("*")]
        assert len(kept) >= (4 if member == OWNER else 2)
        for path in kept:
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_finished_runs_order_is_not_run_again(
    world: World, parties: dict[str, PartyData]
) -> None:
    with pytest.raises(RunFinished):
        run(world, training_job(parties, PARTNERS), "joint")


def test_bulk_replies_are_let_go_when_a_run_is_over(world: World) -> None:
    home = home_of(world, OWNER)
    with home.store.transaction() as tx:
        assert home.runs.reply(tx, "joint", "open")[1]
        assert home.runs.reply(tx, "joint", "residuals/0")[1] == b""
    journal = world.coordinator / "runs" / "joint" / "journal.db"
    assert journal.stat().st_size < 100_000


def test_a_restarted_node_still_knows_that_a_finished_run_was_answered(world: World) -> None:
    world.close()  # the nodes open again, and hold their stores to their logs
    home = home_of(world, OWNER)
    with home.store.transaction() as tx:
        states = {entry.state for entry in home.ledger.entries(tx, "joint")}
    assert states == {"spent"}


def test_an_expansion_leaves_ranked_customers_beyond_the_overlap(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    world = world_of(tmp_path, parties, terms_for(parties))
    run(world, alignment_job(PARTNERS), "alignment")
    job = training_job(parties, PARTNERS, mode="encrypted", epsilon=5.0, settings=FINE)
    run(world, job, "joint")
    run(world, expansion_job("joint", parties), "expansion")
    home = home_of(world, "map_provider")
    ranked = read_table(home, "segments", "expansion")
    aligned = set(read_alignment(home, "alignment").customer_keys)
    assert ranked.columns == ["customer", "reach"]
    assert ranked.height > 0
    assert not aligned & set(ranked["customer"])
    # In the order of keys: within a size bin nobody is ranked.
    assert ranked["customer"].is_sorted()
    assert ranked["reach"].min() == 0
    # Learnt from noised sums: without noise a second run would learn the very same.
    run(world, expansion_job("joint", parties), "expansion-again")
    first, again = (read_part(home, name).model for name in ("expansion", "expansion-again"))
    assert np.abs(first.effects - again.effects).max() > 1e-3
    world.close()
