"""Attacks on vertical runs over real nodes: each fails, and succeeds once its shield is gone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.relay import Relay, Rounds
from end_to_end.shared_trial import columns_of, twin_of
from end_to_end.shared_world import (
    FINE,
    OWNER,
    alignment_job,
    copied,
    dataset_of,
    home_of,
    parties_of,
    run,
    terms_for,
    training_job,
    world_of,
)
from scipy.stats import norm

from fedmkt.contract.collaboration import LabelMode
from fedmkt.contract.vertical_jobs import Party, VerticalJob, VerticalSettings
from fedmkt.core.errors import RequestConflict, SignatureInvalid, StepOutOfOrder
from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.evaluation.metrics import auc
from fedmkt.identity.keys import PublicIdentity
from fedmkt.node import rounds, vertical_owner, vertical_partner, vertical_sums
from fedmkt.node.model_parts import read_part
from fedmkt.node.rounds import open_content, score_context
from fedmkt.privacy.mechanisms import OsNoise
from fedmkt.security import run_keys
from fedmkt.security.inner_product import bins, elgamal, opening
from fedmkt.security.inner_product.points import (
    add,
    multiply,
    negate_scalars,
    scalar_of,
    scalars_from,
)
from fedmkt.security.inner_product.small_logs import find_logs
from fedmkt.security.run_keys import RunKeys
from fedmkt.security.score_sum import unmask_total
from fedmkt.security.secure_sum.masks import public_key
from fedmkt.simulation.vertical_partition import PartyData
from fedmkt.simulation.world import World
from fedmkt.storage.run_store import RunStore
from fedmkt.vertical.party import PartyModel, levels_of, step, step_size
from fedmkt.vertical.party import begin as begin_party
from fedmkt.vertical.plan import noise_sigma
from fedmkt.vertical.residuals import GRID, bin_sums, residuals, training_rows
from fedmkt.wire.canonical import decode, encode
from fedmkt.wire.envelope import Envelope
from fedmkt.wire.run import Body, OpenRequest
from fedmkt.wire.shared import (
    BlindRequest,
    ListReply,
    ProductsRequest,
    ScoresReply,
    ScoresRequest,
)

PEOPLE = 500
ROUNDS = 2
SETTINGS = FINE.model_copy(update={"rounds": ROUNDS, "max_bins": 6})
TWO = ("retailer", "map_provider")
PARTNER = TWO[0]
LARGEST = GRID * PEOPLE
LEAST_BIN = 5  # in `vertical_terms`


@pytest.fixture(scope="module")
def parties() -> dict[str, PartyData]:
    return parties_of(PEOPLE)


@pytest.fixture(scope="module")
def aligned(
    parties: dict[str, PartyData], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    world = world_of(
        tmp_path_factory.mktemp("aligned"),
        parties,
        terms_for(parties, noised=False, exact_scores=1000),
    )
    run(world, alignment_job(), "alignment")
    yield world
    world.close()


def labels_of(world: World, job: VerticalJob) -> np.ndarray:
    """Return the owner's labels of the training rows: what attacks on labels are after."""
    _, target = columns_of(world, job)
    return target[: training_rows(len(target), job.model.holdout)]


# --- labels, from all that a partner receives -------------------------------------------------


class Recording(Rounds):
    """A coordinator that keeps every request it sends to a partner."""

    def __init__(self, world: World, job: VerticalJob, name: str) -> None:
        super().__init__(world, job, name)
        self.heard: list[tuple[str, Body]] = []

    def raw(self, member: str, step: str, body: Body) -> Envelope:
        if member == PARTNER:
            self.heard.append((step, body))
        return super().raw(member, step, body)

    @property
    def keys(self) -> RunKeys:
        """Return the partner's keys of the run: what an insider of it can open."""
        return self.state(PARTNER).keys


def decrypted(data: bytes, secret: bytes, rows: int, *, limit: int) -> tuple[IntArray, np.ndarray]:
    """Return the numbers that ciphertexts hold under a key, and where there are any."""
    _, numbers = elgamal.read_encrypted(data, rows=rows, member=OWNER)
    shared = multiply(numbers.first, negate_scalars(scalars_from(secret)))
    points, there = add(numbers.second, shared)
    found = ~there  # the identity stands for 0
    values = np.zeros(rows, dtype=np.int64)
    values[there], found[there] = find_logs(
        points[there], limit=np.full(int(there.sum()), limit, dtype=np.int64)
    )
    return values, found


@pytest.fixture(scope="module")
def heard(
    aligned: World, parties: dict[str, PartyData], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recording]:
    """An encrypted training, step by step, of which a partner wrote down all it was sent."""
    world = copied(aligned, tmp_path_factory.mktemp("heard"))
    job = training_job(parties, TWO, mode="encrypted", epsilon=4.0, settings=SETTINGS)
    rounds, total = Recording(world, job, "heard"), b""
    rounds.begin()
    for index in range(ROUNDS):
        total = rounds.round(index, total)
    yield rounds
    world.close()


def test_every_byte_a_partner_receives_is_public_or_sealed_to_it(heard: Recording) -> None:
    a_round = [f"{name}/{index}" for index in range(ROUNDS) for name in ("products", "scores")]
    assert [name for name, _ in heard.heard] == ["open", *a_round]
    for name, body in heard.heard:
        match body:
            case OpenRequest():
                assert body.job == heard.job.signed_bytes()
                assert body.lost == ()
            case ProductsRequest():
                assert body.bundles == heard.first(body.index)
                # The content key; the content itself is looked at below.
                assert len(heard.keys.open_from(OWNER, f"residuals/{body.index}", body.key)) == 32
            case ScoresRequest():
                assert (body.bundles, body.residuals, body.key) == ({}, b"", b"")
            case _:
                raise AssertionError(name)
    assert [tuple(peer.facts) for peer in heard.keys.peers.values()] == [("alignment",)] * 3


def test_residuals_reach_a_partner_under_a_key_that_it_lacks(
    heard: Recording, aligned: World
) -> None:
    labels = labels_of(aligned, heard.job)
    partner, owner = heard.keys, heard.state(OWNER).keys
    requests = [body for _, body in heard.heard if isinstance(body, ProductsRequest)]
    publics = set()
    for index, body in enumerate(requests):
        content = open_content(heard.state(PARTNER), OWNER, index, body.key, body.residuals)
        # One public key and one ciphertext a row: there is room for nothing else.
        assert len(content) == 64 * (1 + 2 * len(labels))
        publics.add(content[:64])
        known = [
            partner.secret,
            partner.pair_secret(OWNER, "seal"),
            *(partner.derive_secret(f"{name}/{index}") for name in ("elgamal", "products")),
        ]
        for secret in known:
            _, found = decrypted(content, secret, len(labels), limit=GRID)
            assert not found.any()
        # Under the owner's key the same bytes are the labels: it is the key that hides them.
        read, found = decrypted(
            content, owner.derive_secret(f"elgamal/{index}"), len(labels), limit=GRID
        )
        assert found.all()
        assert auc(labels, read.astype(np.float64)) == 1.0
    assert len(publics) == ROUNDS  # a key of its own for every round


def test_what_a_partner_reads_are_noised_sums_and_nothing_else(
    heard: Recording, aligned: World
) -> None:
    twin = twin_of(heard.world, heard.job, "heard")
    columns, _ = columns_of(aligned, heard.job)
    binning = columns[1].binning
    requests = [body for _, body in heard.heard if isinstance(body, ScoresRequest)]
    for index, body in enumerate(requests):
        points = heard.keys.open_from(OWNER, f"noised/{index}", body.sealed)
        assert len(points) == 64 * binning.total
        sums = bins.unmasked_sums(
            points,
            bins=binning.total,
            mask_seed=heard.keys.derive_secret(f"products/{index}"),
            limit=LARGEST + int(20 * noise_sigma(heard.job)),
            round_number=index + 1,
            member=OWNER,
        )
        assert np.array_equal(sums, twin.sums[index][1])
        exact = exact_sums(heard, columns[1].codes, binning, twin.before[:, index])
        # Every sum carries noise, those of empty bins too; one in 60,000 is 0 by chance.
        assert (sums != exact).all()
        # Of 13 sums the standard deviation lies within a factor of two of the truth, for sure
        # enough: chi-square with 13 degrees of freedom.
        assert 0.5 < (sums - exact).std() / noise_sigma(heard.job) < 2


def exact_sums(
    heard: Recording, codes: CodeArray, binning: Binning, before: FloatArray
) -> IntArray:
    """Return a round's sums over the partner's bins as they are before noise."""
    labels = labels_of(heard.world, heard.job)
    units = residuals(labels, before[: len(labels)])
    own = PartyModel.from_json(heard.state(PARTNER).memory["party"])
    return bin_sums(units, own.merging.stand_ins(codes[: len(labels)]), binning)


def test_residuals_that_are_shown_are_labels(
    aligned: World, parties: dict[str, PartyData], tmp_path: Path
) -> None:
    """What the mode that shares labels says of itself: no protection at all."""
    world = copied(aligned, tmp_path)
    job = training_job(parties, TWO, mode="shared_labels", settings=SETTINGS)
    rounds = Rounds(world, job, "shown").begin()
    told = rounds.residuals(0)
    asked = ScoresRequest(
        index=0, bundles=rounds.bundles, residuals=told.residuals, key=told.keys[PARTNER]
    )
    rounds.ask(PARTNER, "scores/0", asked, ScoresReply)
    read = open_content(rounds.state(PARTNER), OWNER, 0, told.keys[PARTNER], told.residuals)
    shown = np.frombuffer(read, dtype="<i4").astype(np.float64)
    assert auc(labels_of(world, job), shown) == 1.0
    world.close()


# --- labels, by a partner that sums what it should not ----------------------------------------


def times(data: bytes, weight: int, rows: int) -> bytes:
    """Return an owner's message with every number multiplied by `weight`."""
    _, numbers = elgamal.read_encrypted(data, rows=rows, member=OWNER)
    halves = (numbers.first, numbers.second)
    heavier = elgamal.Ciphertexts(*(multiply(half, scalar_of(weight)) for half in halves))
    return data[:64] + heavier.to_bytes()


def singled_out(
    world: World, job: VerticalJob, monkeypatch: pytest.MonkeyPatch, *, weight: int = 1
) -> tuple[IntArray, np.ndarray]:
    """Have a partner put one row alone in each bin; return what it read and these rows' labels.

    Returns: noised residuals (rounds, targets) and labels (targets,).
    """
    (partner,) = job.partners
    labels = labels_of(world, job)
    binning = columns_of(world, job)[0][1].binning
    alone = binning.features[-1].bins - 1
    assert alone <= len(labels)
    read: list[IntArray] = []
    honest = vertical_partner.bins.masked_products

    def weighted(data: bytes, codes: CodeArray, public: Binning, **others: Any) -> bytes:
        chosen = np.zeros_like(codes)
        chosen[:, -1] = alone
        chosen[:alone, -1] = np.arange(alone)
        return honest(times(data, weight, len(codes)), chosen, public, **others)

    def note(values: IntArray, *_: object, **__: object) -> None:
        read.append(values[binning.offsets[-1] : binning.offsets[-1] + alone])

    most = weight * LARGEST + int(20 * noise_sigma(job))
    limit = np.full(binning.total, most, dtype=np.int64)
    monkeypatch.setattr(vertical_partner.bins, "masked_products", weighted)
    monkeypatch.setattr(vertical_partner, "check_totals", note)
    monkeypatch.setattr(vertical_partner, "_search_limits", lambda *_: limit)
    rounds = Rounds(world, job, "singled").begin()
    total = b""
    for index in range(job.model.rounds):
        noised = rounds.until_noised(index, total)
        total = rounds.scores(index, noised)[partner]
    monkeypatch.undo()
    return np.stack(read), labels[:alone]


def advantage_of(read: IntArray, labels: np.ndarray) -> float:
    """Return how much more often a yes is guessed where it is one than where it is none."""
    guessed = read.sum(axis=0) > 0
    return float(guessed[labels == 1].mean() - guessed[labels == 0].mean())


def weather_job(parties: dict[str, PartyData], epsilon: float | None) -> VerticalJob:
    """Return a training with the partner whose one column has many bins."""
    mode: LabelMode = "encrypted_without_noise" if epsilon is None else "encrypted"
    settings = SETTINGS.model_copy(update={"max_bins": 128})
    return training_job(
        parties, ("weather_service",), mode=mode, epsilon=epsilon, settings=settings
    )


def test_a_partner_that_singles_rows_out_reads_labels_unless_sums_are_noised(
    aligned: World, parties: dict[str, PartyData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = copied(aligned, tmp_path / "bare")
    read, labels = singled_out(world, weather_job(parties, None), monkeypatch)
    assert advantage_of(read, labels) == 1.0
    world.close()
    world = copied(aligned, tmp_path / "noised")
    job = weather_job(parties, 1.0)
    read, labels = singled_out(world, job, monkeypatch)
    assert job.labels.noise_multiplier is not None
    mu = np.sqrt(ROUNDS) / job.labels.noise_multiplier
    # Dong, Roth, Su 2019, arXiv:1905.02383: the trade-off of mu-GDP allows 2 Phi(mu / 2) - 1.
    bound = 2 * norm.cdf(mu / 2) - 1
    # Four standard deviations of a difference of two shares.
    chance = 4 * np.sqrt(0.25 / (labels == 1).sum() + 0.25 / (labels == 0).sum())
    assert bound + chance < 0.8  # far from what was read without noise
    assert advantage_of(read, labels) < bound + chance
    world.close()


def test_a_partner_that_weighs_rows_reads_labels_through_the_noise(
    aligned: World, parties: dict[str, PartyData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not promised: the price of labels holds for partners that follow the protocol."""
    world = copied(aligned, tmp_path)
    job = weather_job(parties, 1.0)
    # In the first round every residual is half of GRID either way; 2^8 of them drown the noise.
    weight = 2**8
    assert weight * GRID / 2 > 8 * noise_sigma(job)
    read, labels = singled_out(world, job, monkeypatch, weight=weight)
    assert advantage_of(read[:1], labels) == 1.0
    world.close()


# --- columns, by an owner that returns chosen totals ------------------------------------------


def spelling_sums(party: PartyModel, settings: VerticalSettings, *, even: bool) -> IntArray:
    """Return sums after which a score spells two columns: the first in ones, the second above.

    even: as honest sums they lie within what rows allow, and each column's add up to one total.
    The owner has to know about how many customers each bin holds, which general knowledge tells.
    """
    first, second = (feature.bins for feature in party.binning.features)
    digit = max(step_size(limit=settings.limit, levels=settings.levels), 0.1)
    wanted = digit * np.concatenate([np.arange(first), np.arange(second) * first])
    columns = (slice(0, first), slice(first, first + second))

    def effects(sums: FloatArray) -> FloatArray:
        full = np.zeros(party.merging.public.total)
        full[party.merging.firsts] = sums
        return step(party, full, noise=0.0, settings=settings).effects  # type: ignore[arg-type]

    units = np.eye(first + second)
    slopes = np.stack([effects(GRID * one) for one in units], axis=1) / GRID
    for column in columns:
        wanted[column] -= wanted[column].mean()  # a step takes means out again
    sums = np.linalg.lstsq(slopes, wanted, rcond=None)[0]
    whole = np.zeros(party.merging.public.total, dtype=np.int64)
    for column in columns:
        counts, places = party.counts[column], party.merging.firsts[column]
        if even:
            sums[column] -= counts * sums[column].sum() / counts.sum()
            sums[column] *= min(1.0, float((0.99 * GRID * counts / np.abs(sums[column])).min()))
        whole[places] = np.rint(sums[column])
        if even:
            whole[places[counts.argmax()]] -= whole[places].sum()
    return whole


class Chosen:
    """An owner that encrypts zeros and returns sums of its choice."""

    def __init__(
        self, world: World, job: VerticalJob, monkeypatch: pytest.MonkeyPatch, *, even: bool
    ) -> None:
        self.rounds, self.job = Rounds(world, job, "chosen"), job
        columns, target = columns_of(world, job)
        rows = training_rows(len(target), job.model.holdout)
        self.codes = columns[1].codes
        self.party = begin_party(self.codes[:rows], columns[1].binning, least=5, dataset="x")
        chosen = spelling_sums(self.party, job.model, even=even)
        self.sums, honest = chosen, vertical_owner.noised_sums

        def noise(*arguments: Any) -> Any:
            own, parts, stage = honest(*arguments)
            return own, dict.fromkeys(parts, chosen), stage

        zeros = np.zeros(rows, dtype=np.int64)
        monkeypatch.setattr(vertical_owner, "_units", lambda *_: zeros)
        monkeypatch.setattr(vertical_owner, "noised_sums", noise)
        monkeypatch.setattr(vertical_sums, "_check_positives", lambda *_: None)
        self.rounds.begin()
        self.noised = self.rounds.until_noised(0)

    def asked(self) -> ScoresRequest:
        return ScoresRequest(index=0, sealed=self.noised[PARTNER])

    def accuracy(self, masked: bytes) -> float:
        """Return the share of customers of whom the owner reads both columns right."""
        state = self.rounds.state(OWNER)
        total = unmask_total(
            np.frombuffer(masked, dtype="<u4").astype(np.uint32),
            owner=OWNER,
            secret=state.keys.secret,
            partners={PARTNER: state.keys.public_keys[PARTNER]},
            context=score_context(state, 0),
        )
        moved = step(self.party, self.sums, noise=0.0, settings=self.job.model)
        how = {"limit": self.job.model.limit, "levels": self.job.model.levels}
        bins_of = [feature.bins for feature in self.party.merging.public.features]
        pairs = np.stack(np.meshgrid(*map(np.arange, bins_of), indexing="ij"), -1).reshape(-1, 2)
        shown = levels_of(moved.model, pairs.astype(np.uint16), **how)
        members = self.party.merging.groups
        known = np.stack([members[0][pairs[:, 0]], members[1][pairs[:, 1]]], axis=1)
        truth = np.stack([members[0][self.codes[:, 0]], members[1][self.codes[:, 1]]], axis=1)
        starts = self.party.binning.offsets
        usual = self.party.counts[known[:, 0]] * self.party.counts[starts[1] + known[:, 1]]
        # Where several pairs give one score, the owner guesses the most frequent one.
        best = {int(shown[place]): known[place] for place in np.argsort(usual)}
        guessed = np.stack([best.get(int(one), np.array([-1, -1])) for one in total])
        return float((guessed == truth).all(axis=1).mean())


def chosen_by(
    world: World, parties: dict[str, PartyData], patch: pytest.MonkeyPatch, **how: Any
) -> Chosen:
    shown = how.pop("shown", (SETTINGS.levels, SETTINGS.limit))
    settings = SETTINGS.model_copy(update=dict(zip(("levels", "limit"), shown, strict=True)))
    return Chosen(world, training_job(parties, (PARTNER,), settings=settings), patch, **how)


def test_totals_chosen_as_digits_are_refused_and_would_spell_out_columns(
    aligned: World, parties: dict[str, PartyData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = chosen_by(copied(aligned, tmp_path / "held"), parties, monkeypatch, even=False)
    asked = owner.asked()
    assert owner.rounds.failure(PARTNER, "scores/0", asked) == "totals_implausible"
    # The refusal is one answer: it counts, and nothing more can be asked in this run.
    assert owner.rounds.states(PARTNER) == ["spent", *["planned"] * (ROUNDS - 1)]
    assert owner.rounds.failure(PARTNER, "scores/0", asked) == "run_not_open"
    owner.rounds.world.close()
    monkeypatch.setattr(vertical_partner, "check_totals", lambda *_, **__: None)
    owner = chosen_by(copied(aligned, tmp_path / "open"), parties, monkeypatch, even=False)
    reply = owner.rounds.ask(PARTNER, "scores/0", owner.asked(), ScoresReply)
    assert owner.accuracy(reply.masked) == 1.0
    owner.rounds.world.close()


@pytest.mark.parametrize(
    ("levels", "limit", "least", "most"),
    [
        (2**16 + 1, 8.0, 1.0, 1.0),
        (33, 4.0, 0.9, 1.0),  # what terms allow where they say nothing
        (5, 2.0, 0.0, 0.75),
    ],
)
def test_digits_in_the_guise_of_honest_sums_are_held_off_by_coarse_levels_alone(
    aligned: World,
    parties: dict[str, PartyData],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    levels: int,
    limit: float,
    least: float,
    most: float,
) -> None:
    """What the check does not promise: of one partner alone, sums that look honest read columns."""
    world = copied(aligned, tmp_path)
    owner = chosen_by(world, parties, monkeypatch, even=True, shown=(levels, limit))
    reply = owner.rounds.ask(PARTNER, "scores/0", owner.asked(), ScoresReply)
    assert least <= owner.accuracy(reply.masked) <= most
    world.close()


# --- columns, from small bins -----------------------------------------------------------------


def smallest_group(world: World, job: VerticalJob, name: str) -> tuple[int, int]:
    """Train; return the fewest training rows of a released bin, and of customers of one score."""
    run(world, job, name)
    (partner,) = job.partners
    columns, target = columns_of(world, job)
    rows = training_rows(len(target), job.model.holdout)
    total = read_part(home_of(world, OWNER), name).total
    assert total is not None
    party = begin_party(columns[1].codes[:rows], columns[1].binning, least=1, dataset=partner)
    model = read_part(home_of(world, partner), name).model
    # Bins that were joined have one effect; how many rows each effect stands on is what counts.
    rows_of = np.bincount(
        np.unique(model.effects, return_inverse=True)[1],
        np.bincount(columns[1].codes[:rows, 0], minlength=len(model.effects)),
    )
    assert party.customers == rows
    _, alike = np.unique(total[:rows], return_counts=True)
    return int(rows_of[rows_of > 0].min()), int(alike.min())


def test_no_score_speaks_of_fewer_customers_than_agreed(
    aligned: World, parties: dict[str, PartyData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = copied(aligned, tmp_path)
    rare = Party(member="map_provider", dataset=dataset_of("map_provider"), features=("education",))
    job = training_job(parties, ("map_provider",), settings=SETTINGS)
    job = job.model_copy(update={"parties": (job.parties[0], rare)})
    assert min(smallest_group(world, job, "merged")) >= LEAST_BIN
    monkeypatch.setattr(
        vertical_partner,
        "begin",
        lambda *rows, least, dataset: begin_party(*rows, least=1, dataset=dataset),
    )
    assert max(smallest_group(world, job, "bare")) < LEAST_BIN
    world.close()


# --- members' scores, from masked vectors -----------------------------------------------------


@pytest.fixture
def scored(aligned: World, parties: dict[str, PartyData], tmp_path: Path) -> Iterator[Rounds]:
    """A training with two partners up to the first noised sums."""
    world = copied(aligned, tmp_path)
    job = training_job(parties, TWO, mode="encrypted", epsilon=4.0, settings=SETTINGS)
    yield Rounds(world, job, "scored").begin()
    world.close()


def scores_of(rounds: Rounds, partner: str) -> IntArray:
    """Return a partner's true scores of all customers, in steps."""
    own = PartyModel.from_json(rounds.state(partner).memory["party"])
    codes = next(
        one for one in columns_of(rounds.world, rounds.job)[0] if one.name == partner
    ).codes
    model = rounds.job.model
    return levels_of(own.model, codes, limit=model.limit, levels=model.levels).astype(np.int64)


def taken_off(rounds: Rounds, masked: bytes, partner: str) -> IntArray:
    """Return what is left of one partner's vector where the owner takes off what it can."""
    state = rounds.state(OWNER)
    return unmask_total(
        np.frombuffer(masked, dtype="<u4").astype(np.uint32),
        owner=OWNER,
        secret=state.keys.secret,
        partners={partner: state.keys.public_keys[partner]},
        context=score_context(state, 0),
    )


@pytest.mark.parametrize("shielded", [True, False])
def test_one_partners_vector_given_to_the_owner_shows_nothing_under_pair_masks(
    scored: Rounds, monkeypatch: pytest.MonkeyPatch, shielded: bool
) -> None:
    if not shielded:
        honest = rounds.mask_scores

        def alone(values: IntArray, *, member: str, partners: Any, **others: Any) -> Any:
            return honest(values, member=member, partners={member: partners[member]}, **others)

        monkeypatch.setattr(rounds, "mask_scores", alone)
    masked = scored.scores(0, scored.until_noised(0))
    for partner in TWO:
        left, truth = taken_off(scored, masked[partner], partner), scores_of(scored, partner)
        if shielded:
            # Uniform over 2^32: one in 2^16 entries lies within 2^15 steps of anything, by chance.
            assert (np.abs(left - truth) < 2**15).mean() < 0.05
            assert np.abs(np.corrcoef(left, truth)[0, 1]) < 5 / np.sqrt(len(truth))
        else:
            assert np.array_equal(left, truth)


LAYERS = {
    "stored replies": lambda patch: (
        patch.setattr(RunStore, "reply", lambda *_: None),
        patch.setattr(RunStore, "remember_reply", lambda *_: None),
    ),
    "turns": lambda patch: patch.setattr(vertical_partner, "check_turn", lambda *_, **__: None),
}


@pytest.mark.parametrize(
    ("gone", "error"),
    [
        ((), RequestConflict),
        (("turns",), RequestConflict),
        (("stored replies",), StepOutOfOrder),
        (("stored replies", "turns"), None),
    ],
    ids=["", "no turns", "no stored replies", "neither"],
)
def test_one_rounds_masks_are_never_used_for_two_requests(
    scored: Rounds,
    monkeypatch: pytest.MonkeyPatch,
    gone: tuple[str, ...],
    error: type[Exception] | None,
) -> None:
    """The difference of two vectors under one mask is the difference of their scores."""
    sealed = scored.products(0, scored.residuals(0))
    noised = scored.noised(0, sealed)
    first = scored.scores(0, noised)[PARTNER]
    before = scores_of(scored, PARTNER)
    # The owner works with the coordinator and draws other noise.
    keys = scored.state(OWNER).keys
    data = keys.open_from(PARTNER, "products/0", sealed[PARTNER])
    width = columns_of(scored.world, scored.job)[0][1].binning.total
    zeros = np.zeros(width, dtype=np.int64)
    other = OsNoise().add_to(zeros, sigma=noise_sigma(scored.job))
    key = elgamal.OwnerKey.from_bytes(keys.derive_secret("elgamal/0"))
    points = opening.open_noised(key, data, other, member=PARTNER)
    asked = ScoresRequest(index=0, sealed=keys.seal_to(PARTNER, "noised/0", points))
    for layer in gone:
        LAYERS[layer](monkeypatch)
    if error is not None:
        with pytest.raises(error):
            scored.raw(PARTNER, "scores/0", asked)
        return
    second = scored.ask(PARTNER, "scores/0", asked, ScoresReply).masked
    words = [np.frombuffer(one, dtype="<u4").astype(np.uint32) for one in (second, first)]
    shown = (words[0] - words[1]).view(np.int32)
    assert np.array_equal(shown, scores_of(scored, PARTNER) - before)
    assert np.abs(shown).max() > 0


# --- lists, by a coordinator in the middle ----------------------------------------------------


class Middleman(Relay):
    """A coordinator that puts a key of its own in a member's place."""

    def forged(self, bundles: Mapping[str, bytes], member: str) -> tuple[bytes, dict[str, bytes]]:
        """Return its secret, and the bundles with its own key in the name of `member`."""
        secret = bytes(range(1, 33))
        facts = dict(read_facts(bundles[member]))
        stated = encode([self.run, self.contract.hash, member, public_key(secret), facts])
        forged = encode([stated, self.identity.sign(run_keys.LABEL, stated)])
        return secret, {**bundles, member: forged}

    def keys(self, secret: bytes, bundles: Mapping[str, bytes], member: str) -> RunKeys:
        """Return keys as the holder of `secret` would have them, in the name of `member`."""
        return run_keys.read_bundles(
            RunKeys(self.run, member, secret),
            bundles,
            contract=self.contract.hash,
            roster=tuple(bundles),
            directory=self.node(OWNER).home.directory,
        )


def read_facts(bundle: bytes) -> Mapping[str, int]:
    stated, _ = decode(bundle, kind="key bundle")
    return decode(stated, kind="key bundle")[4]


def test_a_key_the_coordinator_puts_in_a_members_place_opens_no_list(
    aligned: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = copied(aligned, tmp_path)
    relay = Middleman(world, "middle")
    bundles = relay.open(alignment_job((PARTNER,)))
    secret, shown = relay.forged(bundles, PARTNER)
    with pytest.raises(SignatureInvalid):
        relay.raw(OWNER, "blind", BlindRequest(bundles=shown))
    assert "order" not in relay.state(OWNER).memory
    relay = Middleman(world, "middle again")
    bundles = relay.open(alignment_job((PARTNER,)))
    secret, shown = relay.forged(bundles, PARTNER)
    verify = PublicIdentity.verify

    def lenient(self: PublicIdentity, label: str, *rest: bytes, member: str) -> None:
        if label != run_keys.LABEL:
            verify(self, label, *rest, member=member)

    monkeypatch.setattr(PublicIdentity, "verify", lenient)
    sealed = relay.ask(OWNER, "blind", BlindRequest(bundles=shown), ListReply).sealed[PARTNER]
    opened = relay.keys(secret, shown, PARTNER).open_from(
        OWNER, f"list of {OWNER} for hop 1", sealed
    )
    assert len(opened) == 2 * 32 * read_facts(bundles[OWNER])["rows"]
    world.close()
