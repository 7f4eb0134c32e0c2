"""Sums that honest residuals and noise do not give, and what chosen sums read of columns."""

import numpy as np
import pytest

from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.core.errors import TotalsImplausible
from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data import bundled
from fedmkt.data.binning import Binning, FeatureBins, binning_from_schema, encode
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.vertical.party import PartyModel, begin, levels_of, step, step_size
from fedmkt.vertical.plan import calibrated_multiplier
from fedmkt.vertical.plausible import check_totals
from fedmkt.vertical.residuals import GRID, bin_sums, label_bound, residual_limit, residuals

LIMIT = residual_limit()
SIGMA = 2.0 * label_bound(9)
PUBLIC = Binning(
    (
        FeatureBins("spend", tuple("01234"), (1.0, 2.0, 3.0, 4.0), True),
        FeatureBins("city", tuple("abc"), (), ordered=False),
    )
)


def _honest() -> tuple[PartyModel, IntArray]:
    """A party of 1,000 rows whose bin 0 of `spend` is joined to bin 1, and its exact sums."""
    rng = np.random.default_rng(7)
    spend = rng.choice(5, 1_000, p=[0.01, 0.29, 0.3, 0.2, 0.2])
    codes = np.stack([spend, rng.integers(0, 3, 1_000)], axis=1).astype(np.uint16)
    party = begin(codes, PUBLIC, least=20, dataset="cards")
    target = (rng.random(1_000) < 0.1 + 0.2 * spend).astype(np.uint8)
    units = residuals(target, rng.normal(0, 1, 1_000))
    return party, bin_sums(units, party.merging.stand_ins(codes), PUBLIC)


def _refusal(values: IntArray, party: PartyModel, sigma: float) -> str:
    with pytest.raises(TotalsImplausible) as refused:
        check_totals(values, party, limit=LIMIT, sigma=sigma)
    return str(refused.value)


@pytest.mark.parametrize("sigma", [0.0, SIGMA])
def test_honest_sums_pass(sigma: float) -> None:
    party, sums = _honest()
    values = sums if sigma == 0 else ReproducibleNoise(1).add_to(sums, sigma=sigma)
    check_totals(values, party, limit=LIMIT, sigma=sigma)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sigma", [0.0, SIGMA])
def test_a_sum_past_what_its_rows_allow_is_refused(sign: int, sigma: float) -> None:
    party, sums = _honest()
    values = sums.copy()
    values[5] = sign * (int(party.counts[4]) * LIMIT + round(20 * sigma) + 1)
    assert "passes what its rows" in _refusal(values, party, sigma)


def test_the_least_integer_is_refused() -> None:
    """Its absolute value is itself in 64 bits, below 0 and so below every bound."""
    party, sums = _honest()
    values = sums.copy()
    values[5] = np.iinfo(np.int64).min
    assert "passes what its rows" in _refusal(values, party, SIGMA)


@pytest.mark.parametrize(("value", "sigma"), [(1, 0.0), (-1, 0.0), (round(20 * SIGMA), SIGMA)])
def test_a_sum_where_no_rows_are_is_refused(value: int, sigma: float) -> None:
    party, sums = _honest()
    values = sums.copy()
    values[1] = value
    assert "without rows" in _refusal(values, party, sigma)


def test_the_tail_is_where_two_to_the_minus_forty_over_all_tests_lies() -> None:
    """t = sqrt(2 ln(2 * 9 * 2^40)) = 7.826 standard deviations: 8 bins and one pair of features."""
    party, sums = _honest()
    inside, outside = sums.copy(), sums.copy()
    inside[1], outside[1] = round(7.82 * SIGMA), round(7.83 * SIGMA)
    check_totals(inside, party, limit=LIMIT, sigma=SIGMA)
    assert "without rows" in _refusal(outside, party, SIGMA)
    inside, outside = sums.copy(), sums.copy()
    # 4 groups of one feature, 3 of the other.
    inside[2] += round(7.82 * np.sqrt(7) * SIGMA)
    outside[2] += round(7.83 * np.sqrt(7) * SIGMA)
    check_totals(inside, party, limit=LIMIT, sigma=SIGMA)
    assert "one total" in _refusal(outside, party, SIGMA)


@pytest.mark.parametrize("sigma", [0.0, SIGMA])
def test_features_that_disagree_on_the_total_are_refused(sigma: float) -> None:
    party, sums = _honest()
    values = sums.copy()
    # The margin: t = sqrt(2 ln(2 * 9 tests * 2^40)) = 7.8 standard deviations of 7
    # groups' noise. Within its own bin's bound.
    values[2] += 1 + round(7.9 * np.sqrt(7) * sigma)
    assert abs(values[2]) < party.counts[1] * LIMIT
    assert "one total" in _refusal(values, party, sigma)


def test_a_refusal_names_the_round_and_no_number_of_the_data() -> None:
    party, sums = _honest()
    values = sums.copy()
    values[1] = 987_654_321
    told = _refusal(values, party, 0.0)
    assert "round 1" in told
    assert "987" not in told
    assert not any(str(int(count)) in told for count in party.counts)


# --- columns written as digits ----------------------------------------------------------------

ROWS = 5_000
COLUMNS = ("education", "occupation", "native_country")
FINE, COARSE = 2**20 + 1, 33
SETTINGS = VerticalSettings(step=(1.0,))


@pytest.fixture(scope="module")
def victim() -> tuple[PartyModel, CodeArray]:
    """Adult's map provider: its state and its public codes."""
    binning = binning_from_schema(bundled.schema("adult"), COLUMNS, max_bins=16)
    table = bundled.load("adult_train").head(ROWS)
    codes = encode(table, binning, dataset="map_provider")
    return begin(codes, binning, least=20, dataset="map_provider"), codes


def _chosen(party: PartyModel, effects: FloatArray) -> IntArray:
    """Sums that make about these effects, every feature's total 0 but for rounding.

    The attacker knows how often each bin occurs, as official statistics tell.
    """
    sizes = [feature.bins for feature in party.binning.features]
    means = np.add.reduceat(effects * party.counts, party.binning.offsets) / party.customers
    values = np.zeros(party.merging.public.total, dtype=np.int64)
    own = party.counts / 4 * (effects - np.repeat(means, sizes))
    values[party.merging.firsts] = np.rint(own * GRID)
    return values


def _digits(party: PartyModel) -> list[IntArray]:
    """Digits 0, 1, 2, … of each feature's groups, worth all digits of those before."""
    sizes = [feature.bins for feature in party.binning.features]
    return [np.arange(size) * int(np.prod(sizes[:place])) for place, size in enumerate(sizes)]


def _read(
    party: PartyModel, codes: CodeArray, values: IntArray, sigma: float, levels: int
) -> float:
    """Share of rows all of whose columns follow from one score vector.

    The attacker takes for each total the profile most frequent under it; it may know how frequent.
    """
    after = step(party, values, noise=sigma, settings=SETTINGS)
    shown = levels_of(after.model, codes, limit=4.0, levels=levels)
    _, profile = _profiles(party, codes)
    _, pairs = np.unique(np.stack([shown, profile], axis=1), axis=0, return_counts=True)
    keys = np.unique(np.stack([shown, profile], axis=1), axis=0)[:, 0]
    best = {total: pairs[keys == total].max() for total in np.unique(keys)}
    return sum(best.values()) / len(codes)


def _profiles(party: PartyModel, codes: CodeArray) -> tuple[IntArray, IntArray]:
    """How often each distinct profile occurs, and the profile of each row."""
    told = party.merging.stand_ins(codes)
    _, profile, counts = np.unique(told, axis=0, return_inverse=True, return_counts=True)
    return counts, profile.ravel()


def test_totals_that_are_powers_of_two_are_refused(victim: tuple[PartyModel, CodeArray]) -> None:
    party, _ = victim
    values = np.zeros(party.merging.public.total, dtype=np.int64)
    values[party.merging.firsts] = 2 ** np.arange(len(party.merging.firsts), dtype=np.int64)
    for sigma in (0.0, SIGMA):
        with pytest.raises(TotalsImplausible):
            check_totals(values, party, limit=LIMIT, sigma=sigma)


def test_without_the_check_and_with_fine_levels_digits_spell_out_all_columns(
    victim: tuple[PartyModel, CodeArray],
) -> None:
    """Digits as large as the limit allows: no honest sum moves effects so far in one round."""
    party, codes = victim
    digits = np.concatenate(_digits(party))
    values = _chosen(party, digits * (7.9 / digits.max()) - 3.95)
    with pytest.raises(TotalsImplausible):
        check_totals(values, party, limit=LIMIT, sigma=SIGMA)
    assert _read(party, codes, values, SIGMA, FINE) > 0.99


def test_with_fine_levels_the_check_alone_does_not_keep_small_digits_out(
    victim: tuple[PartyModel, CodeArray],
) -> None:
    """What the module does not promise: the shield against digits is coarse levels."""
    party, codes = victim
    small = np.concatenate(_digits(party)) * 16 * step_size(limit=4.0, levels=FINE)
    values = _chosen(party, small)
    check_totals(values, party, limit=LIMIT, sigma=SIGMA)
    assert _read(party, codes, values, SIGMA, FINE) > 0.99
    # Coarse levels leave about what always naming the commonest profile gets.
    counts, _ = _profiles(party, codes)
    assert _read(party, codes, values, SIGMA, COARSE) < counts.max() / ROWS + 0.05


def test_coarse_levels_bound_what_any_plausible_totals_read_from_one_vector(
    victim: tuple[PartyModel, CodeArray],
) -> None:
    """F features of L levels make F (L - 1) + 1 totals, and each can stand for one profile.

    So no attack reads more rows whole than the most frequent 97 profiles hold. The attack here
    draws plausible effects at random and keeps the best, which its attacker could do beforehand.
    """
    party, codes = victim
    counts, _ = _profiles(party, codes)
    totals = len(COLUMNS) * (COARSE - 1) + 1
    bound = np.sort(counts)[::-1][:totals].sum() / ROWS
    rng = np.random.default_rng(5)
    read = []
    for _ in range(40):
        widths = rng.uniform(0, 5, len(COLUMNS))
        effects = [
            rng.permutation(np.linspace(-width, width, feature.bins))
            for width, feature in zip(widths, party.binning.features, strict=True)
        ]
        values = _chosen(party, np.concatenate(effects))
        try:
            check_totals(values, party, limit=LIMIT, sigma=SIGMA)
        except TotalsImplausible:
            continue
        read.append(_read(party, codes, values, SIGMA, COARSE))
    assert len(read) >= 5
    assert 0.5 < max(read) <= bound < 0.9  # much, though one vector; fine levels read all


def test_calibrated_noise_leaves_room_for_honest_sums(victim: tuple[PartyModel, CodeArray]) -> None:
    """Honest sums of a real table pass in every one of many draws."""
    party, codes = victim
    rng = np.random.default_rng(2)
    units = residuals((rng.random(ROWS) < 0.24).astype(np.uint8), rng.normal(-1, 2, ROWS))
    exact = bin_sums(units, party.merging.stand_ins(codes), party.merging.public)
    multiplier = calibrated_multiplier(
        epsilon=8.0, delta=1e-5, rounds=5, features=3, bins=len(exact)
    )
    sigma, source = multiplier * label_bound(3), ReproducibleNoise(3)
    for _ in range(200):
        check_totals(source.add_to(exact, sigma=sigma), party, limit=LIMIT, sigma=sigma)
