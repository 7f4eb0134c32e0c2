"""Sums of clipped gradients in closed form equal those of gradients written out one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_twin import random_network, random_rows, row_gradients, shapes, small_shape
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from torch import nn

from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkInputs
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum

# Of networks without numbers or without layers before the last; Opacus warns of its own hooks.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors"),
]
SEEDS = st.integers(0, 2**32)
CLIPS = st.floats(1e-2, 50)
CLOSE = {"rtol": 1e-3, "atol": 1e-5}  # forward and backward pass are in single precision


def clipped(gradients: np.ndarray, clip_norm: float, least: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the sum of gradients (customers, parameters), each clipped as if at least so long."""
    norms = np.maximum(np.linalg.norm(gradients, axis=1), least)[:, None]
    return (gradients * np.minimum(1, clip_norm / np.maximum(norms, 1e-300))).sum(0)


class Module(nn.Module):
    """The network as modules of torch, for Opacus."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        shape = network.shape
        self.tables = nn.ModuleList(nn.Embedding(*one) for one in shape.tables)
        self.layers = nn.ModuleList(nn.Linear(taken, given) for given, taken in shape.layers)
        start = 0
        with torch.no_grad():
            for parameter in self.parameters():
                end = start + parameter.numel()
                piece = torch.from_numpy(network.parameters[start:end].copy())
                parameter.copy_(piece.view_as(parameter))
                start = end

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        vectors = [table(codes[:, place]) for place, table in enumerate(self.tables)]
        hidden = torch.cat([*(one[:, 1:] for one in vectors), numbers], dim=1)
        for place, layer in enumerate(self.layers[:-1]):
            bent = torch.relu(layer(hidden))
            hidden = hidden + bent if place else bent
        return self.layers[-1](hidden)[:, 0] + sum(one[:, 0] for one in vectors)


def backward(wrapped: nn.Module, inputs: NetworkInputs, target: np.ndarray) -> None:
    scores = wrapped(
        torch.from_numpy(inputs.numbers), torch.from_numpy(inputs.codes.astype(np.int64))
    )
    yes = torch.from_numpy(target).float()
    nn.functional.binary_cross_entropy_with_logits(scores, yes, reduction="sum").backward()


@settings(deadline=None, max_examples=30)
@given(shapes(), SEEDS, CLIPS)
def test_the_sum_is_that_of_gradients_in_double_precision(shape, seed, clip_norm):
    network = random_network(shape, seed)
    inputs, target = random_rows(shape, 7, seed)
    expected = clipped(row_gradients(network, inputs, target), clip_norm)
    found = clipped_sum(network.traces(inputs, target), clip_norm=clip_norm)
    np.testing.assert_allclose(found, expected, **CLOSE)


@settings(deadline=None, max_examples=30)
@given(shapes(), SEEDS, CLIPS, st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_the_rows_of_a_customer_are_clipped_as_one(shape, seed, clip_norm, sizes):
    network = random_network(shape, seed)
    inputs, target = random_rows(shape, sum(sizes), seed)
    customers = np.repeat(np.arange(len(sizes)) * 3, sizes)
    rows = row_gradients(network, inputs, target)
    sums = np.stack([rows[customers == one].sum(0) for one in np.unique(customers)])
    found = clipped_sum(network.traces(inputs, target), clip_norm=clip_norm, customers=customers)
    # Rows that cancel count as long as 1/16 of what they are apart.
    apart = np.bincount(np.repeat(np.arange(len(sizes)), sizes), np.linalg.norm(rows, axis=1))
    np.testing.assert_allclose(found, clipped(sums, clip_norm, apart / 16), **CLOSE)


@settings(deadline=None, max_examples=15)
@given(shapes(), SEEDS, CLIPS)
def test_the_sum_is_that_of_opacus_with_hooks(shape, seed, clip_norm):
    network = random_network(shape, seed)
    inputs, target = random_rows(shape, 7, seed)
    wrapped = GradSampleModule(Module(network), loss_reduction="sum")
    backward(wrapped, inputs, target)
    gradients = [each.grad_sample.flatten(1) for each in wrapped.parameters()]
    expected = clipped(torch.cat(gradients, dim=1).double().numpy(), clip_norm)
    found = clipped_sum(network.traces(inputs, target), clip_norm=clip_norm)
    np.testing.assert_allclose(found, expected, **CLOSE)


@settings(deadline=None, max_examples=15)
@given(shapes(), SEEDS, CLIPS)
def test_the_sum_is_that_of_opacus_with_ghost_clipping(shape, seed, clip_norm):
    network = random_network(shape, seed)
    inputs, target = random_rows(shape, 7, seed)
    wrapped = GradSampleModuleFastGradientClipping(
        Module(network), loss_reduction="sum", max_grad_norm=clip_norm, use_ghost_clipping=True
    )
    backward(wrapped, inputs, target)
    norms = wrapped.get_norm_sample().double().numpy()
    rows = row_gradients(network, inputs, target)
    np.testing.assert_allclose(norms, np.linalg.norm(rows, axis=1), **CLOSE)
    # Ghost clipping: a second pass over losses weighed by what the first pass's norms say.
    expected = (rows * np.minimum(1, clip_norm / np.maximum(norms, 1e-300))[:, None]).sum(0)
    found = clipped_sum(network.traces(inputs, target), clip_norm=clip_norm)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_long_batches_are_added_up_part_by_part():
    shape = small_shape(2, [3], 4, 1)
    network = random_network(shape, 5)
    inputs, target = random_rows(shape, 5_000, 5)
    rows = row_gradients(network, inputs, target)
    traces = network.traces(inputs, target)
    np.testing.assert_allclose(clipped_sum(traces, clip_norm=0.5), clipped(rows, 0.5), rtol=1e-4)
    customers = np.sort(np.random.default_rng(5).integers(0, 1_700, 5_000))
    found, places = np.unique(customers, return_inverse=True)
    sums = np.zeros((len(found), shape.length))
    np.add.at(sums, places, rows)
    np.testing.assert_allclose(
        clipped_sum(traces, clip_norm=0.5, customers=customers), clipped(sums, 0.5), rtol=1e-3
    )


def test_without_clipping_the_sum_is_the_gradient_of_the_loss():
    shape = small_shape(2, [3, 4], 5, 2)
    network = random_network(shape, 6)
    inputs, target = random_rows(shape, 40, 6)
    module = Module(network)
    backward(module, inputs, target)
    expected = torch.cat([each.grad.flatten() for each in module.parameters()])
    found = clipped_sum(network.traces(inputs, target), clip_norm=1e12)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
