"""Sums in single precision stay within what is proven of them, and are used only where it holds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.core.stages import FloatArray
from fedmkt.privacy.dp_sgd import clipped_sum as module
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.row_norms import LARGEST_INPUT, row_norms, row_norms_single
from fedmkt.privacy.dp_sgd.terms import SINGLE_MARGIN
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, LinearTrace, Trace
from fedmkt.privacy.dp_sgd.weighted_sum import (
    CLIP_NORMS,
    roundings,
    single_is_single,
)

U = 2.0**-24
kinds = st.sampled_from(["normal", "aligned", "wide", "tiny"])


def values_of(kind: str, draw: np.random.Generator, rows: int, columns: int) -> torch.Tensor:
    """Return values whose sums round in different ways."""
    values = draw.normal(size=(rows, columns))
    if kind == "aligned":  # one sign and nearly one size: every rounding may go the same way
        values = 0.1 + 1e-3 * draw.random((rows, columns))
    if kind == "wide":
        values *= 2.0 ** draw.integers(-30, 4, (rows, 1))
    if kind == "tiny":
        values *= 1e-25
    return torch.from_numpy(values.astype(np.float32))


def traces_of(kind: str, seed: int, rows: int) -> list[Trace]:
    draw = np.random.default_rng(seed)
    codes = torch.from_numpy(draw.integers(0, 3, rows))
    return [
        EmbeddingTrace(codes, values_of(kind, draw, rows, 3), 3),
        LinearTrace(values_of(kind, draw, rows, 21), values_of(kind, draw, rows, 30)),
        LinearTrace(values_of(kind, draw, rows, 33), values_of(kind, draw, rows, 9)),
    ]


def written_out(traces: list[Trace]) -> FloatArray:
    """Return each row's gradient in extended precision, shape (rows, parameters)."""
    parts = []
    for one in traces:
        slopes = one.slopes.numpy().astype(np.longdouble)
        if isinstance(one, EmbeddingTrace):
            hot = np.eye(one.size)[one.codes.numpy()]
            parts.append((hot[:, :, None] * slopes[:, None, :]).reshape(len(slopes), -1))
        else:
            inputs = one.inputs.numpy().astype(np.longdouble)
            parts += [(slopes[:, :, None] * inputs[:, None, :]).reshape(len(slopes), -1), slopes]
    return np.concatenate(parts, axis=1)


def exact(traces: list[Trace], clip_norm: float) -> tuple[FloatArray, FloatArray]:
    """Return the sum of clipped gradients and their norms in extended precision."""
    rows = written_out(traces)
    norms = np.sqrt((rows**2).sum(1))
    weights = np.minimum(1, clip_norm / np.maximum(norms, np.longdouble("1e-300")))
    return (rows * weights[:, None]).sum(0), norms * weights


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the precision of each part that is added from here on."""
    found: list[str] = []

    def noting(name, add):
        def note(total, part, weights):
            found.append(name)
            add(total, part, weights)

        return note

    for name in ("add_single", "add_double"):
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    return found


@settings(deadline=None, max_examples=60)
@given(kinds, st.integers(0, 2**32), st.integers(1, 700), st.sampled_from([2.0**-10, 0.3, 50.0]))
def test_a_sum_is_off_by_no_more_than_is_proven(kind, seed, rows, clip_norm):
    traces = traces_of(kind, seed, rows)
    expected, norms = exact(traces, clip_norm)
    off = np.linalg.norm((clipped_sum(traces, clip_norm=clip_norm) - expected).astype(float))
    assert off <= roundings(rows) * U * float(norms.sum()) + 2.0**-38 * clip_norm


@pytest.mark.parametrize("rows", [1, 52, 53, 416, 417, 2_048])
def test_rounding_that_all_goes_one_way_stays_within_the_bound(rows, used):
    traces = [LinearTrace(torch.full((rows, 5), 0.1), torch.full((rows, 7), 0.3))]
    expected, norms = exact(traces, 0.1)
    off = np.linalg.norm((clipped_sum(traces, clip_norm=0.1) - expected).astype(float))
    assert used == ["add_single"]
    assert 0 < off <= roundings(rows) * U * float(norms.sum())


def test_a_batch_of_two_thousand_customers_is_one_part_in_single_precision(used):
    traces = traces_of("normal", 1, 2_100)
    clipped_sum(traces, clip_norm=1.0)
    assert used == ["add_single"]


def test_what_single_precision_is_off_by_never_adds_up_to_more_than_is_allowed(used):
    traces = traces_of("aligned", 2, 9_000)
    expected, norms = exact(traces, np.inf)
    clip_norm = 2.5 * float(norms.max())  # nobody is clipped
    found = clipped_sum(traces, clip_norm=clip_norm)
    proven = roundings(2_048) * U * 2_048 * float(norms.mean())
    parts = int(SINGLE_MARGIN * clip_norm / proven)
    assert parts == 2  # of 2,048 rows
    assert used == ["add_single"] * parts + ["add_double"] * 5  # of 1,024 rows
    assert np.linalg.norm((found - expected).astype(float)) <= SINGLE_MARGIN * clip_norm


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 1e20, 2 * LARGEST_INPUT])
def test_rows_outside_the_proof_are_added_in_double_precision(value, used):
    traces = traces_of("normal", 3, 60)
    traces[1].inputs[59, 4] = value
    clipped_sum(traces, clip_norm=1.0)
    assert used == ["add_double"]


def test_clip_norms_and_types_outside_the_proof_are_added_in_double_precision():
    traces = traces_of("normal", 4, 5)
    least, most = CLIP_NORMS
    assert single_is_single(traces, least)
    assert not single_is_single(traces, least / 2)
    assert not single_is_single(traces, most * 2)
    double = [LinearTrace(torch.ones(2, 3, dtype=torch.float64), torch.ones(2, 1))]
    assert not single_is_single(double, 1.0)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_products_told_to_round_more_are_not_used(precision):
    traces = traces_of("normal", 5, 5)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert not single_is_single(traces, 1.0)
    finally:
        torch.set_float32_matmul_precision(before)
    assert single_is_single(traces, 1.0)


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_an_environment_that_allows_rounding_more_is_heeded(name, monkeypatch):
    monkeypatch.setenv(name, "BF16")
    assert not single_is_single(traces_of("normal", 6, 5), 1.0)


@settings(deadline=None, max_examples=60)
@given(kinds, st.integers(0, 2**32))
def test_norms_in_single_precision_are_off_by_less_than_nine_roundings(kind, seed):
    traces = traces_of(kind, seed, 40)
    found, precise = row_norms_single(traces), row_norms(traces)
    assert found is not None
    off = (found - precise).abs()
    assert bool((off <= torch.clamp(9 * U * precise, min=2.0**-36)).all())
