"""Laws of vertical training over generated tables: bounds, groups, layout, levels, checks."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.core.errors import ColumnConstant
from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.vertical.party import PartyModel, begin, levels_of
from fedmkt.vertical.plausible import check_totals
from fedmkt.vertical.residuals import (
    ADDED_OR_REMOVED,
    FLIPPED,
    GRID,
    REPLACED,
    bin_sums,
    label_bound,
    residual_limit,
    residuals,
    soft_residuals,
)
from fedmkt.vertical.small_bins import Merging, merge_small_bins
from fedmkt.vertical.student import student_bound, target_limit, target_units
from fedmkt.vertical.twin import Columns, Noise, train_twin

SEEDS = st.integers(0, 2**31)
KINDS = st.lists(st.sampled_from(["number", "nullable", "names"]), min_size=1, max_size=5)


def _binning(kinds: list[str], rng: np.random.Generator) -> Binning:
    features = []
    for place, kind in enumerate(kinds):
        bins = int(rng.integers(2, 9))
        labels = tuple(map(str, range(bins)))
        if kind == "names":
            features.append(FeatureBins(f"f{place}", labels, (), ordered=False))
            continue
        edges = tuple(float(edge) for edge in range(1, bins))
        labels = (*labels, "missing") if kind == "nullable" else labels
        features.append(FeatureBins(f"f{place}", labels, edges, True, kind == "nullable"))
    return Binning(tuple(features))


def _codes(binning: Binning, rows: int, rng: np.random.Generator) -> CodeArray:
    """Uneven bins, some of them empty."""
    columns = [
        rng.choice(feature.bins, rows, p=rng.dirichlet(np.full(feature.bins, 0.5)))
        for feature in binning.features
    ]
    return np.stack(columns, axis=1).astype(np.uint16)


def _all_sums(target: IntArray, scores: FloatArray, codes: CodeArray, binning: Binning) -> IntArray:
    """All sums of a round: every feature's bins and the total."""
    units = residuals(target.astype(np.uint8), scores)
    return np.append(bin_sums(units, codes, binning), units.sum())


# --- what one customer can move ---------------------------------------------------------------


@given(seed=SEEDS, kinds=KINDS, spread=st.floats(0, 1e6))
@settings(deadline=None, max_examples=100)
def test_a_flipped_label_moves_all_sums_by_exactly_root_features_plus_one_grids(
    seed: int, kinds: list[str], spread: float
) -> None:
    rng = np.random.default_rng(seed)
    binning = _binning(kinds, rng)
    codes, scores = _codes(binning, 30, rng), rng.normal(0, spread, 30)
    target = rng.integers(0, 2, 30)
    flipped = target.copy()
    flipped[int(rng.integers(30))] ^= 1
    moved = _all_sums(flipped, scores, codes, binning) - _all_sums(target, scores, codes, binning)
    assert sorted(set(np.abs(moved).tolist()) - {0}) == [GRID]
    exact = np.sqrt(len(kinds) + 1) * GRID
    assert np.linalg.norm(moved) == pytest.approx(exact)
    assert exact <= FLIPPED * label_bound(len(kinds)) < exact + 1


@given(seed=SEEDS, kinds=KINDS, spread=st.floats(0, 1e6))
@settings(deadline=None, max_examples=100)
def test_a_row_added_or_replaced_moves_all_sums_within_its_factor(
    seed: int, kinds: list[str], spread: float
) -> None:
    rng = np.random.default_rng(seed)
    binning = _binning(kinds, rng)
    codes, scores = _codes(binning, 20, rng), rng.normal(0, spread, 20)
    target = rng.integers(0, 2, 20)
    # Rows 0 and 1 stand for a customer before and after it is replaced.
    before, after, without = (
        _all_sums(target[rows], scores[rows], codes[rows], binning)
        for rows in (np.r_[0, 2:20], np.r_[1, 2:20], np.r_[2:20])
    )
    bound = label_bound(len(kinds))
    assert np.linalg.norm(before - without) <= ADDED_OR_REMOVED * bound
    assert np.linalg.norm(after - before) <= REPLACED * bound


def test_replacing_needs_its_factor() -> None:
    """A sure yes that says no, replaced by the opposite in the same bin, moves two grids."""
    binning = Binning((FeatureBins("f", ("0", "1"), (), ordered=False),))
    codes, scores = np.zeros((1, 1), dtype=np.uint16), np.array([50.0])
    one = _all_sums(np.array([0]), scores, codes, binning)
    two = _all_sums(np.array([1]), -scores, codes, binning)
    assert np.linalg.norm(two - one) == pytest.approx(2 * np.sqrt(2) * GRID)
    assert np.linalg.norm(two - one) > 1.9 * label_bound(1)


@given(
    target=st.integers(0, 255),
    score=st.floats(allow_nan=True, allow_infinity=True),
    soft=st.floats(-1, 2),
)
def test_no_row_passes_its_limit(target: int, score: float, soft: float) -> None:
    hard = residuals(np.array([target], dtype=np.uint8), np.array([score]))
    assert abs(int(hard[0])) <= residual_limit()
    randomised = soft_residuals(np.array([soft]), np.array([score]))
    assert abs(int(randomised[0])) <= residual_limit(-1.0, 2.0)


@given(seed=SEEDS, kinds=KINDS, clip=st.floats(0.01, 16))
@settings(deadline=None, max_examples=50)
def test_a_changed_joint_score_moves_a_students_sums_within_the_bound(
    seed: int, kinds: list[str], clip: float
) -> None:
    rng = np.random.default_rng(seed)
    binning = _binning(kinds, rng)
    codes = _codes(binning, 20, rng)
    scores = rng.normal(0, 5, 20)
    changed = scores.copy()
    changed[3] = rng.choice([np.nan, np.inf, -np.inf, 1e9, -1e9, 0.0])
    one, two = (
        bin_sums(target_units(values, centre=-1.0, clip=clip), codes, binning)
        for values in (scores, changed)
    )
    assert np.linalg.norm(one - two) <= student_bound(len(kinds), clip)
    opposite = [target_units(np.array([s]), centre=0.0, clip=clip)[0] for s in (1e9, -1e9)]
    assert opposite == [target_limit(clip), -target_limit(clip)]


# --- groups and layout ------------------------------------------------------------------------


def _merged(seed: int, kinds: list[str], least: int) -> tuple[Merging, CodeArray]:
    rng = np.random.default_rng(seed)
    binning = _binning(kinds, rng)
    codes = _codes(binning, 200, rng)
    try:
        return merge_small_bins(codes, binning, least=least, dataset="cards"), codes
    except ColumnConstant:
        assume(False)
        raise


@given(seed=SEEDS, kinds=KINDS, least=st.integers(1, 60))
@settings(deadline=None, max_examples=100)
def test_every_group_has_enough_rows_and_ordered_ones_are_neighbours(
    seed: int, kinds: list[str], least: int
) -> None:
    merging, codes = _merged(seed, kinds, least)
    sizes = bin_sums(np.ones(len(codes), dtype=np.int64), merging.stand_ins(codes), merging.public)
    assert sizes[merging.firsts].min() >= least
    assert sizes.sum() == sizes[merging.firsts].sum() == len(codes) * len(kinds)
    for feature, groups in zip(merging.public.features, merging.groups, strict=True):
        assert set(groups.tolist()) == set(range(groups.max() + 1))
        assert groups.max() > 0
        if feature.ordered:
            assert set(np.diff(groups[: len(feature.values)]).tolist()) <= {0, 1}


@given(seed=SEEDS, kinds=KINDS)
@settings(deadline=None, max_examples=50)
def test_bins_that_have_enough_are_left_alone(seed: int, kinds: list[str]) -> None:
    merging, codes = _merged(seed, kinds, 1)
    full = bin_sums(np.ones(len(codes), dtype=np.int64), codes, merging.public) > 0
    assert len(merging.firsts) == int(full.sum())


@given(seed=SEEDS, kinds=KINDS, least=st.integers(1, 60))
@settings(deadline=None, max_examples=50)
def test_sums_of_stand_ins_are_sums_of_groups_and_models_of_groups_score_public_codes(
    seed: int, kinds: list[str], least: int
) -> None:
    merging, codes = _merged(seed, kinds, least)
    rng = np.random.default_rng(seed)
    values = rng.integers(-GRID, GRID, len(codes))
    public = bin_sums(values, codes, merging.public)
    by_group = np.bincount(merging.members, public, merging.binning.total).astype(np.int64)
    told = bin_sums(values, merging.stand_ins(codes), merging.public)
    np.testing.assert_array_equal(told[merging.firsts], by_group)
    effects = rng.normal(0, 1, merging.binning.total)
    grouped = np.stack([g[codes[:, k]] for k, g in enumerate(merging.groups)], axis=1)
    whole = AdditiveModel(merging.public, 0.5, effects[merging.members])
    parts = AdditiveModel(merging.binning, 0.5, effects)
    np.testing.assert_array_equal(whole.scores(codes), parts.scores(grouped.astype(np.uint16)))


# --- what is shown ----------------------------------------------------------------------------


@given(
    seed=SEEDS,
    kinds=KINDS,
    levels=st.integers(3, 200),
    limit=st.floats(0.1, 16),
    size=st.floats(0, 1e6),
)
@settings(deadline=None, max_examples=100)
def test_a_feature_moves_a_shown_score_by_at_most_its_levels(
    seed: int, kinds: list[str], levels: int, limit: float, size: float
) -> None:
    rng = np.random.default_rng(seed)
    binning = _binning(kinds, rng)
    model = AdditiveModel(binning, rng.normal(0, 1) * size, rng.normal(0, 1, binning.total) * size)
    codes = _codes(binning, 40, rng)
    shown = levels_of(model, codes, limit=limit, levels=levels)
    half = (levels - 1) // 2
    assert np.abs(shown).max() <= 2 * len(kinds) * half
    for place, feature in enumerate(binning.features):
        seen = []
        for code in range(feature.bins):
            other = codes[:1].copy()
            other[0, place] = code
            seen.append(int(levels_of(model, other, limit=limit, levels=levels)[0]))
        assert max(seen) - min(seen) <= 2 * half
        assert len(set(seen)) <= levels


# --- what is checked --------------------------------------------------------------------------


def _party(seed: int, kinds: list[str]) -> tuple[PartyModel, CodeArray]:
    merging, codes = _merged(seed, kinds, 15)
    return begin(codes, merging.public, least=15, dataset="cards"), codes


@given(
    seed=SEEDS,
    kinds=KINDS,
    grids=st.one_of(st.just(0.0), st.floats(0.01, 1e4)),
    spread=st.floats(0, 100),
)
@settings(deadline=None, max_examples=150)
def test_honest_sums_are_never_refused(
    seed: int, kinds: list[str], grids: float, spread: float
) -> None:
    """However sure and however wrong the owner's model is."""
    party, codes = _party(seed, kinds)
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, len(codes)).astype(np.uint8)
    units = residuals(target, rng.normal(0, 1, len(codes)) * spread)
    sums = bin_sums(units, party.merging.stand_ins(codes), party.merging.public)
    sigma, source = grids * GRID, ReproducibleNoise(seed)
    for _ in range(10 if sigma else 1):
        values = source.add_to(sums, sigma=sigma) if sigma else sums
        check_totals(values, party, limit=residual_limit(), sigma=sigma)


# --- the twin ---------------------------------------------------------------------------------


@given(seed=SEEDS, noised=st.booleans())
@settings(deadline=None, max_examples=25)
def test_holdout_labels_change_nothing(seed: int, noised: bool) -> None:
    rng = np.random.default_rng(seed)
    binning = _binning(["number", "names"], rng)
    codes = _codes(binning, 200, rng)
    target = rng.integers(0, 2, 200).astype(np.uint8)
    other = np.append(target[:150], 1 - target[150:])
    training = VerticalSettings(rounds=3, holdout=0.25)
    parties = [Columns("bank", binning, codes), Columns("retailer", binning, codes)]
    try:
        one, two = (
            train_twin(
                parties,
                labels,
                training,
                noise=Noise(3.0 * GRID, ReproducibleNoise(seed)) if noised else None,
            )
            for labels in (target, other)
        )
    except ColumnConstant:
        assume(False)
        raise
    assert [model.hash for model in one.models] == [model.hash for model in two.models]


@given(seed=SEEDS)
@settings(deadline=None, max_examples=25)
def test_the_owner_sees_the_totals_its_scores_are_made_of(seed: int) -> None:
    """scores = own part exactly + partners' parts in steps, whichever partner holds a column."""
    rng = np.random.default_rng(seed)
    binning = _binning(["number", "names", "nullable"], rng)
    codes = _codes(binning, 200, rng)
    target = rng.integers(0, 2, 200).astype(np.uint8)
    training = VerticalSettings(rounds=3, holdout=0.0)
    columns = [
        Columns(f"p{k}", Binning((feature,)), codes[:, k : k + 1])
        for k, feature in enumerate(binning.features)
    ]
    try:
        twin = train_twin(columns, target, training)
    except ColumnConstant:
        assume(False)
        raise
    own = twin.models[0].scores(columns[0].codes)
    parts = sum(
        levels_of(model, one.codes, limit=training.limit, levels=training.levels).astype(np.int64)
        for model, one in zip(twin.models[1:], columns[1:], strict=True)
    )
    np.testing.assert_array_equal(twin.totals[:, -1], parts)
    size = 2 * training.limit / (training.levels - 1)
    np.testing.assert_allclose(twin.scores, own + twin.totals[:, -1] * size, atol=1e-12)
