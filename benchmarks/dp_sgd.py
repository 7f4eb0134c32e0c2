"""Cost of a step of DP-SGD beside a plain step of the same network, on one core.

    python benchmarks/dp_sgd.py [--rounds 15]
    python benchmarks/dp_sgd.py --short

A step is everything from who takes part to new parameters: drawing, gathering, both passes,
clipping, noise, momentum. `plain` is PyTorch's SGD over shuffled batches. Opacus clips and adds
noise with torch's generator; its loaders are left out, so it takes the batches of `plain`. Kinds
take turns within a round; a ratio is the median over rounds of processor times, which other work
disturbs less than wall times.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machine import median, print_header, print_table, spread, verdict
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

from fedmkt.core.keystream import KeyStream
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.data.scaling import NumberScale
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkInputs, NetworkShape, first_parameters
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.noise import add_gaussian, on_grid
from fedmkt.privacy.dp_sgd.poisson import draw_customers
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms, mean_gradient

BATCHES = (256, 2_048, 16_384)
TARGET, JUDGED = 1.3, 2_048
SPEED, MOMENTUM, CLIP, MULTIPLIER = 0.05, 0.9, 1.0, 1.0
BATCHES_A_TABLE = 16
SECONDS = 0.15  # at least, of each kind in a round
ADULT = (9, 16, 7, 15, 6, 5, 2, 42)  # categories of Adult's columns
Step = Callable[[], None]


def shape_of(numbers: int, sizes: tuple[int, ...]) -> NetworkShape:
    scales = tuple(NumberScale(f"number {n}", 0.0, 1.0) for n in range(numbers))
    categories = tuple(
        FeatureBins(f"category {n}", tuple(map(str, range(size))), (), False)
        for n, size in enumerate(sizes)
    )
    return NetworkShape(scales, Binning(categories), width=128, blocks=1)


SHAPES = {
    "85 numbers": shape_of(85, ()),
    "6 numbers, 8 categories": shape_of(6, ADULT),
}


class Module(nn.Module):
    """The same network as PyTorch writes it."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(*one) for one in shape.tables)
        self.layers = nn.ModuleList(nn.Linear(taken, given) for given, taken in shape.layers)

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        vectors = [table(codes[:, place]) for place, table in enumerate(self.tables)]
        numbers_and_vectors = torch.cat([*(one[:, 1:] for one in vectors), numbers], dim=1)
        hidden = torch.relu(self.layers[0](numbers_and_vectors))
        hidden = hidden + torch.relu(self.layers[1](hidden))
        score = self.layers[2](hidden)[:, 0]
        return score + sum(one[:, 0] for one in vectors) if vectors else score


class Table:
    """Rows of random numbers and codes, and batches of them by shuffling."""

    def __init__(self, shape: NetworkShape, batch: int) -> None:
        draw = np.random.default_rng(1)
        self.rows, self.batch = batch * BATCHES_A_TABLE, batch
        numbers = draw.uniform(-1, 1, (self.rows, shape.numbers)).astype(np.float32)
        codes = np.empty((self.rows, len(shape.tables)), dtype=np.uint16)
        for place, (size, _) in enumerate(shape.tables):
            codes[:, place] = draw.integers(0, size, self.rows)
        self.inputs = NetworkInputs(numbers, codes)
        self.target = draw.integers(0, 2, self.rows).astype(np.uint8)
        self.numbers, self.codes = (
            torch.from_numpy(numbers),
            torch.from_numpy(codes.astype(np.int64)),
        )
        self.yes = torch.from_numpy(self.target.astype(np.float32))
        self._order, self._place = torch.randperm(self.rows), 0

    def shuffled(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if self._place + self.batch > self.rows:
            self._order, self._place = torch.randperm(self.rows), 0
        rows = self._order[self._place : self._place + self.batch]
        self._place += self.batch
        return tuple(one.index_select(0, rows) for one in (self.numbers, self.codes, self.yes))


def stepping(module: nn.Module, loss: Any, optimiser: Any, table: Table) -> Step:
    """Return a step as every PyTorch training has it."""

    def step() -> None:
        numbers, codes, yes = table.shuffled()
        optimiser.zero_grad()
        loss(module(numbers, codes), yes).backward()
        optimiser.step()

    return step


def plain(shape: NetworkShape, table: Table) -> Step:
    module, loss = Module(shape), nn.BCEWithLogitsLoss()
    optimiser = torch.optim.SGD(module.parameters(), lr=SPEED, momentum=MOMENTUM)

    return stepping(module, loss, optimiser, table)


def opacus(shape: NetworkShape, table: Table, *, ghost: bool) -> Step:
    module, loss = Module(shape), nn.BCEWithLogitsLoss()
    terms = {
        "noise_multiplier": MULTIPLIER,
        "max_grad_norm": CLIP,
        "expected_batch_size": table.batch,
    }
    inner = torch.optim.SGD(module.parameters(), lr=SPEED, momentum=MOMENTUM)
    if ghost:
        module = GradSampleModuleFastGradientClipping(
            module, max_grad_norm=CLIP, use_ghost_clipping=True
        )
        optimiser = DPOptimizerFastGradientClipping(inner, **terms)
        loss = DPLossFastGradientClipping(module, optimiser, loss)
    else:
        module = GradSampleModule(module)
        optimiser = DPOptimizer(inner, **terms)

    return stepping(module, loss, optimiser, table)


class Fedmkt:
    """Steps of this project; `parts` are the times of each part of a step."""

    def __init__(self, shape: NetworkShape, table: Table) -> None:
        rate = 1 / BATCHES_A_TABLE
        self.terms = DpSgdTerms(CLIP, MULTIPLIER, rate, 1_000, shape.length)
        self.shape, self.table = shape, table
        self.parameters, self.speed = first_parameters(shape, 1), np.zeros(shape.length)
        self.drawing, self.noising = KeyStream.fresh(), KeyStream.fresh()

    def batch(self) -> tuple[NetworkInputs, np.ndarray]:
        table = self.table
        rows = draw_customers(table.rows, self.terms.sampling_rate, self.drawing)
        inputs = NetworkInputs(
            np.take(table.inputs.numbers, rows, axis=0), np.take(table.inputs.codes, rows, axis=0)
        )
        return inputs, table.target[rows]

    def move(self, values: np.ndarray) -> None:
        self.speed *= MOMENTUM
        self.speed += mean_gradient(values, self.terms, customers=self.table.rows)
        self.parameters = (self.parameters - SPEED * self.speed).astype(np.float32)

    def step(self) -> None:
        traces = Network(self.shape, self.parameters).traces(*self.batch())
        self.move(noised_sum(traces, self.terms, self.noising).values)

    def parts(self, times: int) -> dict[str, float]:
        """Return processor seconds a step of each part."""
        marks = np.zeros(6)
        for _ in range(times):
            at = [time.process_time()]
            batch = self.batch()
            at.append(time.process_time())
            traces = Network(self.shape, self.parameters).traces(*batch)
            at.append(time.process_time())
            total = clipped_sum(traces, clip_norm=CLIP)
            at.append(time.process_time())
            noised = add_gaussian(
                on_grid(total, self.terms.grid),
                noise_multiplier=MULTIPLIER,
                shares=1,
                trust="local",
                stream=self.noising,
            )
            at.append(time.process_time())
            self.move(noised.values)
            at.append(time.process_time())
            marks[:5] += np.diff(at)
        names = ("draw and gather", "both passes", "clipped sum", "noise", "move")
        return dict(zip(names, marks / times, strict=False))


def seconds_a_step(step: Step) -> float:
    """Return processor seconds a step, over at least SECONDS."""
    steps, start = 0, time.process_time()
    while True:
        step()
        steps += 1
        taken = time.process_time() - start
        if taken >= SECONDS:
            return taken / steps


def measure(shape: NetworkShape, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return processor seconds a step of each kind, one figure a round."""
    table = Table(shape, batch)
    kinds: dict[str, Step] = {
        "plain": plain(shape, table),
        "fedmkt": Fedmkt(shape, table).step,
        "Opacus ghost": opacus(shape, table, ghost=True),
        "Opacus hooks": opacus(shape, table, ghost=False),
    }
    for step in kinds.values():
        step()
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds):
        for kind, step in kinds.items():
            if kind != "Opacus hooks" or turn < 3:  # so slow that three rounds show it
                found[kind].append(seconds_a_step(step))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--short", action="store_true", help="two rounds of small batches")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # Opacus's own hooks
    batches, rounds = ((256, 512), 2) if options.short else (BATCHES, options.rounds)
    print_header(f"Steps of DP-SGD beside plain ones (torch {torch.__version__}, one thread)")
    for name, shape in SHAPES.items():
        print(f"\n{name}: {shape.length:,} parameters")
        rows = []
        for batch in batches:
            found = measure(shape, batch, rounds)
            rows.append(row_of(batch, found))
        print_table(
            ("batch", "plain, samples/s", "fedmkt", "spread", "ghost", "hooks", f"<= {TARGET}"),
            rows,
        )
        table = Table(shape, batches[1])
        parts = Fedmkt(shape, table).parts(60)
        print_table(
            (f"a step at {batches[1]:,}", "ms"),
            [(part, f"{1000 * seconds:.2f}") for part, seconds in parts.items()],
        )


def row_of(batch: int, found: dict[str, list[float]]) -> tuple[str, ...]:
    """Return a batch's row: plain's pace, and the others' times over plain's."""
    whole = found["plain"]
    ratios = {
        kind: [one / other for one, other in zip(found[kind], whole, strict=False)]
        for kind in found
    }
    ours = median(ratios["fedmkt"])
    return (
        f"{batch:,}",
        f"{batch / median(whole):,.0f}",
        f"{ours:.2f}",
        spread(ratios["fedmkt"]),
        f"{median(ratios['Opacus ghost']):.2f}",
        f"{median(ratios['Opacus hooks']):.1f}",
        verdict(ours, TARGET) if batch == JUDGED else "",
    )


if __name__ == "__main__":
    main()
