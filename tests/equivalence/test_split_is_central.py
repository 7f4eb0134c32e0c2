"""A split training with one local step, no noise and no clipping is central training.

The reference composes the same networks out of torch's own modules, takes the gradient of the joint
loss by all parameters at once, and steps with torch's own AdamW.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedmkt.contract.split_job import SplitSettings
from fedmkt.data import bundled
from fedmkt.models.network_shape import network_inputs, shape_from_schema
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.split_shape import Part, bottom_shape
from fedmkt.vertical.split_twin import SplitColumns, SplitTwin, first_networks, train_split

PARTIES = {
    "bank": ("age", "capital_gain", "capital_loss", "hours_per_week", "workclass"),
    "retailer": ("marital_status", "relationship"),
    "map_provider": ("education", "occupation", "native_country"),
}
ROWS = 600
SECRETS = (b"bank", b"retailer", b"map provider")
SETTINGS = SplitSettings(rounds=12, local_steps=1, width=6, top_width=5, gradient_bound=1e3)


def adult() -> tuple[list[SplitColumns], np.ndarray]:
    frame, schema = bundled.load("adult_train").head(ROWS), bundled.schema("adult")
    columns = []
    for name, features in PARTIES.items():
        shape = shape_from_schema(schema, features, width=1)
        columns.append(SplitColumns(name, shape, network_inputs(frame, shape, dataset=name)))
    target = (frame["income"] == schema.target_positive).to_numpy().astype(np.uint8)
    return columns, target


def split(settings: SplitSettings) -> SplitTwin:
    columns, target = adult()
    networks = first_networks(columns, settings, SECRETS)
    return train_split(columns, target, settings, networks=networks, noise=ReproducibleNoise(1))


class Block(torch.nn.Module):
    """One hidden layer with a linear part beside it, from a part's flat parameters."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        shape, flat = part.shape, torch.from_numpy(part.parameters.copy())
        self.tables = torch.nn.ModuleList()
        for size, dim in shape.embedded:
            table, flat = flat[: size * dim].view(size, dim), flat[size * dim :]
            self.tables.append(torch.nn.Embedding.from_pretrained(table.clone(), freeze=False))
        self.layers = torch.nn.ModuleList()
        for out, taken in shape.weights:
            layer = torch.nn.Linear(taken, out)
            weight, bias = flat[: out * taken], flat[out * taken : out * (taken + 1)]
            flat = flat[out * (taken + 1) :]
            layer.load_state_dict({"weight": weight.view(out, taken), "bias": bias})
            self.layers.append(layer)
        assert not len(flat)

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor | None = None) -> torch.Tensor:
        looked_up = [table(codes[:, place]) for place, table in enumerate(self.tables)]
        taken = torch.cat([*looked_up, numbers], dim=1)
        if len(self.layers) == 1:
            return self.layers[0](taken)
        return self.layers[1](torch.cat([torch.relu(self.layers[0](taken)), taken], dim=1))


class Central(torch.nn.Module):
    """The same network in one place."""

    def __init__(self, columns: list[SplitColumns], settings: SplitSettings) -> None:
        super().__init__()
        owner, partners = first_networks(columns, settings, SECRETS)
        self.bottoms = torch.nn.ModuleList([Block(one) for one in (owner.bottom, *partners)])
        self.top = Block(owner.top)
        self.each = settings.activation_bound / settings.activations**0.5

    def forward(self, columns: list[SplitColumns], rows: slice) -> torch.Tensor:
        shown = [
            self.each
            * torch.tanh(
                bottom(
                    torch.from_numpy(one.inputs.numbers[rows]),
                    torch.from_numpy(one.inputs.codes[rows].astype(np.int64)),
                )
            )
            for bottom, one in zip(self.bottoms, columns, strict=True)
        ]
        return self.top(torch.cat(shown, dim=1))[:, 0]


def central_scores(settings: SplitSettings) -> np.ndarray:
    columns, target = adult()
    network = Central(columns, settings)
    trained = slice(0, training_rows(ROWS, settings.holdout))
    labels = torch.from_numpy(target[trained].astype(np.float32))
    adam = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    for _ in range(settings.rounds):
        adam.zero_grad()
        scores = network(columns, trained)
        torch.nn.functional.binary_cross_entropy_with_logits(scores, labels).backward()
        adam.step()
    with torch.no_grad():
        return network(columns, slice(None)).numpy()


@pytest.mark.parametrize("widths", [(6, 5), (0, 0)], ids=["hidden layers", "linear"])
def test_one_local_step_a_round_is_central_training(widths):
    settings = SETTINGS.model_copy(update={"width": widths[0], "top_width": widths[1]})
    apart, central = split(settings).scores, central_scores(settings)
    first = split(settings.model_copy(update={"rounds": 1})).scores
    assert np.abs(central - first).max() > 0.3  # it went somewhere
    np.testing.assert_allclose(apart, central, atol=2e-4)


def test_several_local_steps_are_another_training_than_central():
    apart = split(SETTINGS.model_copy(update={"local_steps": 3, "rounds": 4}))
    assert np.abs(apart.scores - central_scores(SETTINGS)).max() > 1e-2


def test_the_pull_to_what_was_seen_moves_nothing_in_a_single_step():
    without = split(SETTINGS.model_copy(update={"proximal": 0.0})).scores
    with_pull = split(SETTINGS.model_copy(update={"proximal": 100.0})).scores
    np.testing.assert_array_equal(without, with_pull)


def test_an_owner_without_columns_trains_on_its_partners():
    columns, target = adult()
    schema = bundled.schema("adult")
    shape = shape_from_schema(schema, (), width=1)
    frame = bundled.load("adult_train").head(ROWS)
    nobody = SplitColumns("labels", shape, network_inputs(frame, shape, dataset="labels"))
    assert bottom_shape(shape, SETTINGS).taken == 0
    parties = [nobody, *columns]
    networks = first_networks(parties, SETTINGS, (b"labels", *SECRETS))
    twin = train_split(parties, target, SETTINGS, networks=networks, noise=ReproducibleNoise(1))
    assert np.isfinite(twin.scores).all()


def test_a_part_of_another_length_is_refused():
    owner, _ = first_networks(adult()[0], SETTINGS, SECRETS)
    with pytest.raises(Exception, match="float32 parameters"):
        replace(owner.top, parameters=owner.top.parameters[:-1])
