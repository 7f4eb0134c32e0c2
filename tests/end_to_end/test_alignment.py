"""Alignments and overlap jobs over real nodes: the truth, what is spent, and what breaks them."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from end_to_end.relay import Relay
from end_to_end.shared_trial import Trial
from end_to_end.shared_world import (
    OWNER,
    PARTNERS,
    alignment_job,
    dataset_of,
    home_of,
    overlap_job,
    parties_of,
    run,
    terms_for,
    world_of,
)
from scipy.stats import chi2

from fedmkt.contract.order import sign_order
from fedmkt.contract.vertical_jobs import AlignmentJob, OverlapJob
from fedmkt.core.errors import (
    AlignmentMismatch,
    AlignmentUnknown,
    AnsweredTwice,
    NodeFailed,
    NotAParty,
    OverlapTooSmall,
    PointInvalid,
    RequestConflict,
    RunRefused,
    SealBroken,
    SetReplayed,
    SetSizeWrong,
)
from fedmkt.node import alignment_steps
from fedmkt.node.alignment import AlignmentProgram
from fedmkt.node.alignments import Alignment, read_alignment
from fedmkt.node.app import forget_nodes, open_handler
from fedmkt.node.overlap import OverlapProgram
from fedmkt.node.rounds import padded_to, unpadded
from fedmkt.privacy.events import ExactEvent, GaussianEvent
from fedmkt.security.psi import linking, lists
from fedmkt.security.psi.group import BlindingKey, as_strings
from fedmkt.simulation.vertical_partition import PartyData, true_overlap
from fedmkt.simulation.world import World
from fedmkt.storage.key_file import read_key
from fedmkt.transport.channel import Handler
from fedmkt.transport.flower import Config
from fedmkt.wire.run import OpenRequest
from fedmkt.wire.shared import (
    BlindRequest,
    FinishReply,
    FinishRequest,
    HopRequest,
    ListReply,
    MatchReply,
    MatchRequest,
)

PEOPLE = 600
TWO = (OWNER, "retailer")
DRAWS = 400
FALSE_ALARM = 1e-6


@pytest.fixture(scope="module")
def parties() -> dict[str, PartyData]:
    return parties_of(PEOPLE)


@pytest.fixture(scope="module")
def aligned(
    parties: dict[str, PartyData], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    world = world_of(tmp_path_factory.mktemp("aligned"), parties, terms_for(parties))
    run(world, alignment_job(), "alignment")
    yield world
    world.close()


@pytest.fixture
def world(parties: dict[str, PartyData], tmp_path: Path) -> Iterator[World]:
    two = {member: parties[member] for member in TWO}
    made = world_of(tmp_path, two, terms_for(two))
    yield made
    made.close()


def people_of(party: PartyData, alignment: Alignment) -> list[int]:
    keys = party.table.get_column(party.schema.customer_key).to_list()
    return [int(party.people[keys.index(key)]) for key in alignment.customer_keys]


def test_all_members_end_with_the_true_overlap_in_one_row_order(
    aligned: World, parties: dict[str, PartyData]
) -> None:
    found = {
        member: people_of(party, read_alignment(home_of(aligned, member), "alignment"))
        for member, party in parties.items()
    }
    assert set(found[OWNER]) == true_overlap(parties)
    assert len(found[OWNER]) == len(set(found[OWNER]))
    assert all(people == found[OWNER] for people in found.values())


def test_who_withdrew_consent_is_in_no_alignment(
    aligned: World, parties: dict[str, PartyData]
) -> None:
    for member, party in parties.items():
        granted = party.consent.filter(pl.col("status") == "granted")["key"].to_list()
        withdrawn = set(party.consent.filter(pl.col("status") == "withdrawn")["key"].to_list())
        alignment = read_alignment(home_of(aligned, member), "alignment")
        assert withdrawn
        assert not withdrawn & set(alignment.customer_keys)
        assert set(alignment.customer_keys) <= set(granted)


def test_duplicates_and_opt_outs_are_counted_at_the_node_and_add_up(
    aligned: World, parties: dict[str, PartyData]
) -> None:
    for member, party in parties.items():
        counts = read_alignment(home_of(aligned, member), "alignment").counts
        assert counts.rows == party.table.height
        assert counts.duplicates > 0
        assert counts.opted_out > 0
        assert counts.rows == (
            counts.offered + counts.duplicates + counts.opted_out + counts.unusable
        )


def test_an_alignment_on_disk_is_sealed(aligned: World) -> None:
    home = home_of(aligned, OWNER)
    key = read_alignment(home, "alignment").customer_keys[0]
    (stored,) = (home.folder / "alignments").iterdir()
    assert key.encode() not in stored.read_bytes()
    assert stored.stat().st_mode & 0o077 == 0


def test_no_identifier_crosses_the_wire(parties: dict[str, PartyData], world: World) -> None:
    relay = Relay(world)
    seen = bytearray()
    handle = relay.node

    class Recording(Relay):
        def raw(self, member, step, body):  # type: ignore[no-untyped-def]
            seen.extend(body.to_bytes())
            reply = super().raw(member, step, body)
            seen.extend(reply.body)
            return reply

    assert handle(OWNER) is not None
    align(Recording(world))
    for member in TWO:
        party = parties[member]
        for column in ("email", "phone", party.schema.customer_key):
            for value in party.table.get_column(column).drop_nulls().cast(pl.String).head(50):
                assert value.encode() not in seen


def test_a_noised_alignment_is_charged_and_states_sizes_near_the_truth(
    aligned: World, parties: dict[str, PartyData]
) -> None:
    outcome = run(aligned, alignment_job(exact=False), "noised")
    truth = len(true_overlap(parties))
    # eps 1 over two sizes: standard deviation 5.3 customers, times the 3 that one customer can move
    # an overlap of four members by; eight of them is beyond chance.
    assert all(abs(size - truth) < 8 * 3 * 5.3 for size in outcome.facts["overlap"].values())
    with home_of(aligned, OWNER).store.transaction() as tx:
        spent = home_of(aligned, OWNER).ledger.entries(tx, "noised")
    assert [type(entry.event) for entry in spent] == [GaussianEvent, GaussianEvent, ExactEvent]
    assert {entry.state for entry in spent} == {"spent"}


def test_receipts_say_how_sizes_were_protected(aligned: World) -> None:
    folder = aligned.coordinator / "runs" / "alignment" / "receipts"
    receipt = json.loads((folder / "retailer.json").read_bytes())["receipt"]
    assert (receipt["kind"], receipt["mode"]) == ("alignment", "exact_sizes")
    assert not receipt["noised"]
    assert receipt["epsilon"] is None


def test_aligning_past_the_cap_is_refused(parties: dict[str, PartyData], tmp_path: Path) -> None:
    two = {member: parties[member] for member in TWO}
    world = world_of(tmp_path, two, terms_for(two, alignments=1))
    job = alignment_job(("retailer",))
    run(world, job, "first")
    with pytest.raises(RunRefused) as refused:
        run(world, job, "second")
    assert refused.value.fields["rule"] == "exact_scores_exceeded"
    world.close()


def test_an_overlap_smaller_than_agreed_leaves_nobody_half_aligned(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in TWO}
    world = world_of(tmp_path, two, terms_for(two, minimum_overlap=100_000))
    with pytest.raises(OverlapTooSmall):
        run(world, alignment_job(("retailer",)), "small")
    for member in TWO:
        with pytest.raises(AlignmentUnknown):
            read_alignment(home_of(world, member), "small")
        states = Relay(world, "small").states(member)
        assert states == ["spent", "spent", "spent"]
    world.close()


def test_an_overlap_job_tells_one_noised_number(
    aligned: World, parties: dict[str, PartyData]
) -> None:
    outcome = run(aligned, overlap_job(), "overlap")
    bank, retailer = parties[OWNER], parties["retailer"]
    both = {OWNER: bank, "retailer": retailer}
    truth = len(true_overlap(both))
    told = outcome.facts["overlap"]
    assert isinstance(told, int)
    # By e-mail alone, with two draws of noise of 5.3 customers; without e-mail some are not found.
    assert 0.7 * truth < told < truth + 8 * 5.3 * 2**0.5
    assert outcome.exchanges == 5


def test_an_overlap_under_the_minimum_is_not_told(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in TWO}
    world = world_of(tmp_path, two, terms_for(two, minimum_overlap=100_000))
    assert run(world, overlap_job(), "overlap").facts["overlap"] is None
    world.close()


def test_a_key_column_full_of_blanks_is_a_named_error_and_costs_nothing(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    party = parties["retailer"]
    blank = party.table.with_columns(email=pl.lit(" "), phone=pl.lit(None, dtype=pl.String))
    two = {OWNER: parties[OWNER], "retailer": party}
    world = world_of(tmp_path, two, terms_for(two))
    from fedmkt.simulation.world import write_table

    write_table(world.node("retailer") / "customers.parquet", blank)
    with pytest.raises(NodeFailed, match="identifiers_blank"):
        run(world, alignment_job(("retailer",)), "blank")
    assert set(Relay(world, "blank").states("retailer")) == {"returned"}
    # The bank had stated its size already; what was not sent comes back.
    assert Relay(world, "blank").states(OWNER) == ["spent", "returned", "returned"]
    world.close()


# --- what members and coordinator can try -----------------------------------------------------


def bundles_of(relay: Relay) -> dict[str, bytes]:
    return relay.open(alignment_job(("retailer",)))


def blinded(relay: Relay) -> dict[str, dict[str, bytes]]:
    """Go as far as both blinded lists; return what each member sealed."""
    bundles = bundles_of(relay)
    return {
        member: relay.ask(member, "blind", BlindRequest(bundles=bundles), ListReply).sealed
        for member in TWO
    }


def hopped(relay: Relay, first: dict[str, dict[str, bytes]]) -> dict[str, dict[str, bytes]]:
    other = {OWNER: "retailer", "retailer": OWNER}
    return {
        member: relay.ask(
            member,
            "hop/1",
            HopRequest(index=1, sealed=first[other[member]][member]),
            ListReply,
        ).sealed
        for member in TWO
    }


def matched(relay: Relay, lists_: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    request = MatchRequest(
        sealed={OWNER: lists_["retailer"][OWNER], "retailer": lists_[OWNER][OWNER]}
    )
    return relay.ask(OWNER, "match", request, MatchReply).sealed


def finish(relay: Relay, lists_: dict[str, dict[str, bytes]], links: dict[str, bytes]) -> None:
    for member, last in ((OWNER, "retailer"), ("retailer", OWNER)):
        witness = lists_["retailer"]["retailer"] if member == "retailer" else b""
        request = FinishRequest(links=links[member], own=lists_[last][member], witness=witness)
        relay.ask(member, "finish", request, FinishReply)


def align(relay: Relay) -> None:
    lists_ = hopped(relay, blinded(relay))
    finish(relay, lists_, matched(relay, lists_))


def test_who_finished_an_alignment_holds_no_key_to_align_another_list_with(world: World) -> None:
    relay = Relay(world)
    lists_ = hopped(relay, blinded(relay))
    links = matched(relay, lists_)
    secrets = {
        member: [relay.state(member).memory[name] for name in ("key", "order")] for member in TWO
    }
    finish(relay, lists_, links)
    for member, held in secrets.items():
        kept = relay.state(member).to_bytes()
        assert all(secret and secret not in kept for secret in held)


def test_a_list_longer_than_signed_is_refused(world: World) -> None:
    relay = Relay(world)
    blinded(relay)
    keys = relay.state("retailer").keys
    rows = int(keys.peers["retailer"].facts["rows"])
    longer = np.random.default_rng(1).integers(0, 100, (2, rows + 1, 32), dtype=np.uint8)
    sealed = keys.seal_to(OWNER, "list of retailer for hop 1", longer.tobytes())
    with pytest.raises(SetSizeWrong):
        relay.raw(OWNER, "hop/1", HopRequest(index=1, sealed=sealed))


@pytest.mark.parametrize(
    ("point", "error"),
    [
        (bytes(32), PointInvalid),  # the identity
        ((1).to_bytes(32, "little"), PointInvalid),  # of order 4
        ((2**255 - 19 + 5).to_bytes(32, "little"), PointInvalid),  # not canonical
        (b"\xff" * 32, PointInvalid),  # the unused bit is set
        (None, SetReplayed),  # another row's point once more
    ],
)
def test_a_point_that_no_list_should_hold_is_refused(
    world: World, point: bytes | None, error: type[Exception]
) -> None:
    relay = Relay(world)
    first = blinded(relay)
    keys, bank = relay.state("retailer").keys, relay.state(OWNER).keys
    data = bytearray(
        bank.open_from("retailer", "list of retailer for hop 1", first["retailer"][OWNER])
    )
    data[:32] = bytes(data[32:64]) if point is None else point
    sealed = keys.seal_to(OWNER, "list of retailer for hop 1", bytes(data))
    with pytest.raises(error):
        relay.raw(OWNER, "hop/1", HopRequest(index=1, sealed=sealed))
    # Nothing left, but that it did not is an answer: the run is over and counts a release more.
    assert relay.states(OWNER) == ["spent", "spent", "planned"]
    again = HopRequest(index=1, sealed=sealed)
    assert relay.failure(OWNER, "hop/1", again) == "run_not_open"


def test_yesterdays_list_is_refused(world: World) -> None:
    before = blinded(Relay(world, "yesterday"))
    relay = Relay(world, "today")
    blinded(relay)
    with pytest.raises(SealBroken):
        relay.raw(OWNER, "hop/1", HopRequest(index=1, sealed=before["retailer"][OWNER]))


def test_a_list_shown_as_anothers_is_refused(world: World) -> None:
    relay = Relay(world)
    first = blinded(relay)
    with pytest.raises(SealBroken):
        relay.raw(OWNER, "hop/1", HopRequest(index=1, sealed=first[OWNER]["retailer"]))


def test_a_hop_is_answered_once_and_repeated_byte_for_byte(world: World) -> None:
    relay = Relay(world)
    first = blinded(relay)
    keys = relay.state("retailer").keys
    request = HopRequest(index=1, sealed=first["retailer"][OWNER])
    assert relay.raw(OWNER, "hop/1", request).body == relay.raw(OWNER, "hop/1", request).body
    data = relay.state(OWNER).keys.open_from(
        "retailer", "list of retailer for hop 1", first["retailer"][OWNER]
    )
    again = keys.seal_to(OWNER, "list of retailer for hop 1", data)
    with pytest.raises(RequestConflict):
        relay.raw(OWNER, "hop/1", HopRequest(index=1, sealed=again))


def test_the_other_list_of_an_overlap_is_passed_on_in_another_order(world: World) -> None:
    """In one order, whoever counts could follow a shared customer back to a row."""
    relay = Relay(world)
    bundles = relay.open(overlap_job())
    asked = BlindRequest(bundles=bundles)
    first = {m: relay.ask(m, "blind", asked, ListReply).sealed for m in TWO}
    sealed = first[OWNER]["retailer"]
    keys = relay.state("retailer").keys
    sent = lists.tags_from_bytes(
        keys.open_from(OWNER, "list", sealed),
        columns=1,
        rows=int(keys.peers[OWNER].facts["rows"]),
        member=OWNER,
    )
    key = BlindingKey.from_bytes(relay.state("retailer").memory["key"])
    in_order = lists.pass_on(sent, key, member=OWNER)
    reply = relay.ask("retailer", "hop/1", HopRequest(index=1, sealed=sealed), ListReply)
    opened = relay.state(OWNER).keys.open_from("retailer", f"passed {OWNER}", reply.sealed[OWNER])
    passed = lists.tags_from_bytes(opened, columns=1, rows=sent.shape[1], member=OWNER)
    assert set(as_strings(passed[0])) == set(as_strings(in_order[0]))
    # Of some 500 rows one stays in its place on average.
    assert (passed[0] == in_order[0]).all(axis=1).mean() < 0.05


def test_a_link_to_a_members_dummy_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would put a customer who does not exist into every sum."""
    relay = Relay(world)
    bundles = relay.open(alignment_job(("retailer",), exact=False))
    asked = BlindRequest(bundles=bundles)
    lists_ = hopped(relay, {m: relay.ask(m, "blind", asked, ListReply).sealed for m in TWO})
    keys = relay.state("retailer").keys
    rows = int(keys.peers["retailer"].facts["rows"])
    data = keys.open_from(OWNER, "list of retailer for hop 0", lists_[OWNER]["retailer"])
    monkeypatch.setattr(alignment_steps, "_check_padding", lambda *_: None)
    own = lists.tags_from_bytes(data, columns=2, rows=rows, member="retailer")
    order = np.frombuffer(relay.state("retailer").memory["order"], dtype="<i4")
    (dummy, *_) = np.flatnonzero(order < 0)
    one = linking.Links(np.zeros(1, dtype=np.uint8), own[0][[dummy]])
    told = linking.links_to_bytes(one)
    request = FinishRequest(
        links=relay.state(OWNER).keys.seal_to("retailer", "links", padded_to(told, len(told))),
        own=lists_[OWNER]["retailer"],
        witness=lists_["retailer"]["retailer"],
    )
    # The witness would find it too, unless the first party made up a row for it.
    monkeypatch.setattr(alignment_steps, "_witness", lambda *_: None)
    with pytest.raises(AlignmentMismatch, match="a dummy was linked"):
        relay.raw("retailer", "finish", request)


Draw = Callable[[], int]


def opened_rows(world: World, job: AlignmentJob | OverlapJob) -> Draw:
    """What a node draws for the size of its set: as `open` states it."""
    program: Any = AlignmentProgram() if isinstance(job, AlignmentJob) else OverlapProgram()
    home = home_of(world, "retailer")
    priced = program.price(home, job)
    customers = program.load(home, priced)

    def draw() -> int:
        return int(program.open(home, "sizes", priced, customers).facts["rows"])

    return draw


def padded_links(world: World, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """What the first party of an alignment draws for the overlap: as `match` pads the links."""
    relay = Relay(world)
    bundles = relay.open(alignment_job(("retailer",), exact=False))
    asked = BlindRequest(bundles=bundles)
    passed = hopped(relay, {m: relay.ask(m, "blind", asked, ListReply).sealed for m in TWO})
    request = MatchRequest(
        sealed={OWNER: passed["retailer"][OWNER], "retailer": passed[OWNER][OWNER]}
    )
    # Opening and linking the lists draws nothing, and takes most of a match's time.
    monkeypatch.setattr(alignment_steps, "opened_list", lambda *_, **__: np.empty((2, 0, 32)))
    links = linking.Links(np.zeros(9, dtype=np.uint8), np.zeros((9, 32), dtype=np.uint8))
    monkeypatch.setattr(linking, "link", lambda _: links)
    home, state = home_of(world, OWNER), relay.state(OWNER)

    def draw() -> int:
        answer = AlignmentProgram().step(home, state, request, lambda: pytest.fail("no data"))
        padded = answer.facts["padded"]
        assert isinstance(padded, int)
        return padded

    return draw


def kept_of_pool(world: World, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """What a member of an overlap job draws for the overlap: as `blind` fills its list."""
    relay, job = Relay(world), overlap_job()
    request = BlindRequest(bundles=relay.open(job))
    home, state, program = home_of(world, "retailer"), relay.state("retailer"), OverlapProgram()
    priced = program.price(home, job)
    customers = program.load(home, priced)
    filled: list[int] = []

    def noted(columns: list[list[bytes]], **_: object) -> tuple[lists.Tags, None]:
        filled.append(len(columns[0]))
        return np.zeros((1, 1, 32), dtype=np.uint8), None

    monkeypatch.setattr(lists, "own_list", noted)

    def draw() -> int:
        program.step(home, state, request, lambda: (priced, customers))
        return filled[-1]

    return draw


@pytest.mark.parametrize("figure", ["alignment size", "alignment overlap", "size", "overlap"])
def test_each_size_at_the_node_carries_noise_of_the_stated_scale(
    parties: dict[str, PartyData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: str
) -> None:
    """Two sided: 2/3 and 3/2 of the noise fail, wherever between job and message they come in."""
    two = {member: parties[member] for member in TWO}
    world = world_of(tmp_path, two, terms_for(two), seed=None)
    aligning, counting = alignment_job(("retailer",), exact=False), overlap_job()
    assert aligning.privacy is not None
    # By two keys one customer moves an overlap of two members by 2; all else by 1.
    moves = 2 if figure == "alignment overlap" else 1
    scale = moves * aligning.privacy.noise_multiplier
    assert counting.privacy == aligning.privacy
    draw = {
        "alignment size": lambda: opened_rows(world, aligning),
        "alignment overlap": lambda: padded_links(world, monkeypatch),
        "size": lambda: opened_rows(world, counting),
        "overlap": lambda: kept_of_pool(world, monkeypatch),
    }[figure]()
    drawn = [draw() for _ in range(DRAWS)]
    # With n draws of variance s^2, (n - 1) v / s^2 is chi-squared; rounding adds 1/12.
    ratio = (DRAWS - 1) * np.var(drawn, ddof=1) / (scale**2 + 1 / 12)
    low, high = chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], DRAWS - 1)
    assert low < ratio < high
    for factor in (2 / 3, 3 / 2):
        # Where noise so wrong passes once in a thousand tries at most, the test tells them apart.
        passes = chi2.cdf(high / factor**2, DRAWS - 1) - chi2.cdf(low / factor**2, DRAWS - 1)
        assert passes < 1e-3
    world.close()


@pytest.mark.parametrize("witnessed", [True, False])
def test_links_the_first_party_made_up_are_found_by_the_witness_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, witnessed: bool
) -> None:
    """A first party that links rows it has no customer for would see scores of strangers."""
    relay = Relay(world)
    lists_ = hopped(relay, blinded(relay))
    honest = matched(relay, lists_)
    bank = relay.state(OWNER).keys
    rows = int(bank.peers["retailer"].facts["rows"])
    shared = linking.links_from_bytes(
        unpadded(bank.open_from(OWNER, "links", honest[OWNER])), alignment=relay.run
    )
    assert shared.count < rows
    # The bank compares in the clear of tags: it holds every tag of the retailer's list, and links
    # all of it, in the order that all links have.
    data = bank.open_from(OWNER, "list of retailer for hop 0", lists_[OWNER][OWNER])
    tags = lists.tags_from_bytes(data, columns=2, rows=rows, member="retailer")
    everybody = linking.Links(
        np.zeros(rows, dtype=np.uint8), tags[0][np.argsort(as_strings(tags[0]))]
    )
    told = linking.links_to_bytes(everybody)
    assert linking.links_from_bytes(told, alignment=relay.run).count == rows
    request = FinishRequest(
        links=bank.seal_to("retailer", "links", padded_to(told, len(told))),
        own=lists_[OWNER]["retailer"],
        witness=lists_["retailer"]["retailer"],
    )
    if witnessed:
        with pytest.raises(AlignmentMismatch, match="a link is not in the own list"):
            relay.raw("retailer", "finish", request)
        # Spent with the last hop: from then on the first party can compare.
        assert relay.states("retailer") == ["spent", "spent", "spent"]
        return
    monkeypatch.setattr(alignment_steps, "_witness", lambda *_: None)
    assert relay.ask("retailer", "finish", request, FinishReply).overlap == rows


def test_a_witness_that_is_shown_nothing_or_another_list_does_not_finish(world: World) -> None:
    for number in range(3):
        relay = Relay(world, f"shown-{number}")
        lists_ = hopped(relay, blinded(relay))
        links = matched(relay, lists_)
        own = lists_[OWNER]["retailer"]
        witness = (b"", own, lists_["retailer"][OWNER])[number]
        request = FinishRequest(links=links["retailer"], own=own, witness=witness)
        with pytest.raises(SealBroken):
            relay.raw("retailer", "finish", request)
        assert relay.failure("retailer", "finish", request) == "run_not_open"
        relay.close(TWO, finished=True)
        with pytest.raises(AlignmentUnknown):
            read_alignment(home_of(world, "retailer"), relay.run)


def test_the_coordinator_cannot_open_a_list(world: World) -> None:
    relay = Relay(world)
    first = blinded(relay)
    sealed = first["retailer"][OWNER]
    tags = relay.state(OWNER).keys.open_from("retailer", "list of retailer for hop 1", sealed)
    # Sealed bytes differ from the blinded points everywhere, and tell their number alone.
    assert tags[:64] not in sealed
    assert len(sealed) == len(tags) + 28  # nonce and tag of AES-GCM


def test_a_node_that_is_no_party_says_so_and_writes_nothing_down(world: World) -> None:
    relay, log = Relay(world), home_of(world, "retailer").folder / "audit.log"
    before = log.read_bytes()
    job = alignment_job(("weather_service",))
    requester = read_key(world.node(OWNER) / "identity.key")
    order = sign_order(relay.contract, relay.run, job, requester)
    request = OpenRequest(job=job.signed_bytes(), order_signature=order.signature)
    assert relay.refusal("retailer", "open", request) == NotAParty.code
    assert log.read_bytes() == before
    assert relay.entries("retailer") == ()


def test_two_nodes_under_one_members_key_stop_the_run(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    """Whoever copied a member's home could show the others another face of it."""
    three = {member: parties[member] for member in (*TWO, "map_provider")}
    world = world_of(tmp_path / "world", three, terms_for(three))
    twin = shutil.copytree(world.node("retailer"), tmp_path / "twin")

    def opened(config: Config) -> Handler:
        here = config["home"] == str(world.node("map_provider"))
        return open_handler({"home": str(twin)} if here else config)

    with pytest.raises(AnsweredTwice) as twice:
        Trial(world, open_handler=opened).run(alignment_job(("retailer",)), "run-1")
    assert twice.value.fields == {"member": "retailer", "step": "open"}
    forget_nodes([twin])
    world.close()


def test_a_job_for_other_members_leaves_no_trace(aligned: World) -> None:
    log = (home_of(aligned, "weather_service").folder / "audit.log").read_text()
    run(aligned, overlap_job(), "not-for-weather")
    assert (home_of(aligned, "weather_service").folder / "audit.log").read_text() == log
    assert (
        dataset_of(PARTNERS[0]) in (home_of(aligned, "retailer").folder / "audit.log").read_text()
    )


def test_message_sizes_tell_the_noised_overlap_and_no_exact_one(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    """Two runs over the same customers differ in the length of what carries their links."""
    two = {member: parties[member] for member in TWO}
    world = world_of(tmp_path, two, terms_for(two), seed=None)
    lengths, stated = set(), []
    for number in range(5):
        relay = Relay(world, f"noised-{number}")
        bundles = relay.open(alignment_job(("retailer",), exact=False))
        first = {
            member: relay.ask(member, "blind", BlindRequest(bundles=bundles), ListReply).sealed
            for member in TWO
        }
        lists_ = hopped(relay, first)
        links = matched(relay, lists_)
        finish(relay, lists_, links)
        relay.close(TWO, finished=True)
        lengths |= {len(sealed) for sealed in links.values()}
        known = {m: read_alignment(home_of(world, m), f"noised-{number}") for m in TWO}
        assert len({one.padded for one in known.values()}) == 1
        assert len({one.overlap for one in known.values()}) == 1
        assert all(one.padded >= one.rows for one in known.values())
        stated.append(known[OWNER].overlap)
    # Noise of 10.6 customers a run: five equal draws are a chance of about 1 in a million.
    assert len(lengths) > 1
    assert len(set(stated)) > 1
    world.close()


def test_what_the_first_party_can_compare_is_spent_even_if_nobody_finishes(world: World) -> None:
    relay = Relay(world)
    hopped(relay, blinded(relay))
    relay.close(TWO, finished=False)
    for member in TWO:
        assert relay.states(member) == ["spent", "spent", "spent"]
        with pytest.raises(AlignmentUnknown):
            read_alignment(home_of(world, member), relay.run)


def test_of_three_members_each_has_spent_all_once_its_key_is_on_anothers_list(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    """Two who work together can compare lists that carry its key without its last hop."""
    three = {member: parties[member] for member in (*TWO, "map_provider")}
    world = world_of(tmp_path, three, terms_for(three))
    relay = Relay(world)
    names = tuple(three)
    bundles = relay.open(alignment_job(names[1:]))
    first = {
        m: relay.ask(m, "blind", BlindRequest(bundles=bundles), ListReply).sealed for m in names
    }
    for place, member in enumerate(names):
        assert relay.states(member) == ["spent", "planned", "planned"]
        asked = HopRequest(index=1, sealed=first[names[place - 1]][member])
        relay.ask(member, "hop/1", asked, ListReply)
        assert relay.states(member) == ["spent", "spent", "spent"]
    world.close()


def test_the_first_party_sees_a_members_rows_in_another_order_than_their_owner(
    world: World,
) -> None:
    """In one order, it could follow each linked customer to the row the member first sent."""
    relay = Relay(world)
    lists_ = hopped(relay, blinded(relay))
    name = "list of retailer for hop 0"
    compared = relay.state(OWNER).keys.open_from(OWNER, name, lists_[OWNER][OWNER])
    owned = relay.state("retailer").keys.open_from(OWNER, name, lists_[OWNER]["retailer"])
    rows = [
        [data[place : place + 32] for place in range(0, len(data), 32)]
        for data in (compared, owned)
    ]
    assert sorted(rows[0]) == sorted(rows[1])
    assert sum(one == other for one, other in zip(*rows, strict=True)) < 10


def test_an_overlap_padded_beyond_its_noise_is_refused(world: World) -> None:
    """By more padding a first party could pass any agreed minimum."""
    relay = Relay(world)
    lists_ = hopped(relay, blinded(relay))
    honest = matched(relay, lists_)
    bank = relay.state(OWNER).keys
    told = unpadded(bank.open_from(OWNER, "links", honest[OWNER]))
    request = FinishRequest(
        links=bank.seal_to("retailer", "links", padded_to(told, len(told) + 33 * 500)),
        own=lists_[OWNER]["retailer"],
        witness=lists_["retailer"]["retailer"],
    )
    with pytest.raises(AlignmentMismatch, match="padded beyond its noise"):
        relay.raw("retailer", "finish", request)
