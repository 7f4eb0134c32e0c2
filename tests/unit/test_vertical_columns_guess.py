"""What an owner guesses of a partner's columns from totals, on made and on real tables."""

import numpy as np
import pytest

from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema, encode
from fedmkt.vertical.columns_guess import column_guess
from fedmkt.vertical.twin import Columns, train_twin

ROWS, KNOWN = 6_000, 1_000


def _known(rows: int, seed: int = 0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(rows, KNOWN, replace=False))


def test_totals_that_say_nothing_guess_no_better_than_the_majority() -> None:
    rng = np.random.default_rng(1)
    codes = rng.choice(4, ROWS, p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint16)
    guess = column_guess(rng.integers(-50, 50, (ROWS, 4)), codes, _known(ROWS))
    assert guess.majority == pytest.approx(0.4, abs=0.02)
    assert guess.accuracy < guess.majority + 0.02


def test_one_total_a_value_gives_the_column_away() -> None:
    codes = np.random.default_rng(2).integers(0, 4, ROWS).astype(np.uint16)
    levels = np.array([[3, -1], [0, 2], [5, 5], [-4, 0]])
    guess = column_guess(levels[codes], codes, _known(ROWS))
    assert guess.accuracy == 1.0
    assert guess.majority < 0.3


def test_known_customers_are_not_counted_as_guessed() -> None:
    """All but one are known; the one is unlike everybody: accuracy is 0 or 1, and here 0."""
    codes = np.zeros(10, dtype=np.uint16)
    codes[9] = 1
    guess = column_guess(np.arange(10)[:, None], codes, np.arange(9))
    assert (guess.accuracy, guess.majority) == (0.0, 0.0)


def test_totals_of_an_honest_training_tell_occupations_apart_and_more_rounds_say_more() -> None:
    """The leak the documents state, with one partner of two columns and coarse levels."""
    schema, table = bundled.schema("adult"), bundled.load("adult_train").head(ROWS)
    target = (table["income"] == ">50K").to_numpy().astype(np.uint8)
    parties = []
    for name, columns in (("bank", ("age", "capital_gain")), ("map", ("education", "occupation"))):
        binning = binning_from_schema(schema, columns, max_bins=16)
        parties.append(Columns(name, binning, encode(table, binning, dataset=name), least=20))
    occupation, known = parties[1].codes[:, 1], _known(ROWS)
    settings = VerticalSettings(rounds=5, max_bins=16, levels=33, holdout=0.0)
    totals = train_twin(parties, target, settings).totals
    guesses = [column_guess(totals[:, :rounds], occupation, known) for rounds in (1, 5)]
    assert guesses[0].majority < 0.2
    assert guesses[0].majority + 0.1 < guesses[0].accuracy < guesses[1].accuracy - 0.2
    assert guesses[1].accuracy > 0.8
