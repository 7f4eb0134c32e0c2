"""A bare update gives a partner's prevalence and distribution away, a masked sum everybody's."""

import numpy as np
import pytest

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import Examples, NoiselessUpdate
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.horizontal.local_update import local_sums
from fedmkt.models.additive import zero_model
from fedmkt.simulation.attacks.collusion import run_sum
from fedmkt.simulation.attacks.inspection import Property, attack_inspection, read_property

BINNING = Binning(
    (
        FeatureBins("age", tuple("abcd"), (), ordered=False),
        FeatureBins("town", tuple("xyz"), (), ordered=False),
    )
)
WEIGHT = 0.2
PARTNERS = {"bank": (0.1, 0), "map": (0.5, 1), "shop": (0.8, 2)}


def partner(prevalence: float, town: int) -> Examples:
    draw = np.random.default_rng(town)
    towns = np.where(draw.random(900) < 0.7, town, draw.integers(0, 3, 900))
    codes = np.column_stack([draw.integers(0, 4, 900), towns]).astype(np.uint16)
    return Examples(codes, (draw.random(900) < prevalence).astype(np.uint8))


def test_bare_updates_are_read_exactly_and_masked_ones_like_the_average():
    parts = {name: partner(*how) for name, how in PARTNERS.items()}
    updates = {
        name: local_sums(one, zero_model(BINNING), count_weight=WEIGHT).values
        for name, one in parts.items()
    }
    truth = {
        name: Property(
            float(one.target.mean()), np.bincount(one.codes[:, 1], minlength=3) / one.rows
        )
        for name, one in parts.items()
    }

    def read(values):
        return read_property(values, BINNING, "town", count_weight=WEIGHT)

    bare = attack_inspection({n: read(u) for n, u in updates.items()}, truth, defence="none")
    assert bare.value < 1e-6
    opened = run_sum({name: NoiselessUpdate(values) for name, values in updates.items()})
    masked = attack_inspection(dict.fromkeys(parts, read(opened.total)), truth, defence="masks")
    # Partners are of one size, so their sum is their mean.
    assert masked.value == pytest.approx(masked.chance)
    assert masked.value > 0.25
    alone = {name: read(values.view(np.int64)) for name, values in opened.masked.items()}
    hidden = attack_inspection(alone, truth, defence="masks")
    assert hidden.value > 0.25


def test_a_feature_the_model_lacks_is_refused():
    with pytest.raises(SettingInvalid):
        read_property(np.zeros(14, dtype=np.int64), BINNING, "income", count_weight=WEIGHT)
