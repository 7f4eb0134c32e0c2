"""What a job with private quantiles releases, and which edges a node takes."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import JobInvalid, MessageInvalid, RangeExceeded
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning
from fedmkt.horizontal.local_update import GRID, MOST_CUSTOMERS
from fedmkt.horizontal.plan import planned_releases, planned_sums
from fedmkt.horizontal.survey import (
    check_edges,
    edges_from_survey,
    public_binning,
    survey_counts,
)
from fedmkt.privacy.events import GaussianEvent
from fedmkt.privacy.quantiles import edges_from_noised_counts
from fedmkt.wire.steps import parse_request
from fedmkt.wire.training import MaskRequest

SCHEMA = TableSchema(
    customer_key="k",
    columns=(
        Column(name="visits", kind="number", bounds=(0, 10), nullable=True),
        Column(name="region", kind="category", categories=("north", "south")),
        Column(name="spend", kind="number", bounds=(0, 100)),
        Column(name="age", kind="integer", bounds=(18, 20)),
    ),
)


def job(features: tuple[str, ...], **model: object) -> Job:
    stated = {"edges": "private_quantiles", "max_bins": 4, "grid_bins": 10, "rounds": 3, **model}
    return Job(
        name="j",
        requester="bank",
        purpose="lookalike",
        dataset="cards",
        members=("a", "b", "c"),
        target="buys",
        features=features,
        model=AdditiveSettings.model_validate(stated),
        privacy=PrivacySettings(epsilon=1.0, noise_multiplier=8.0),
    )


ALL = job(("visits", "region", "spend", "age"))
FINE = public_binning(ALL, SCHEMA)
EDGES = {"visits": (2.0, 5.0), "spend": (10.0, 20.0, 90.0), "age": (19.0, 20.0)}


@pytest.mark.parametrize("rounds", [1, 5])
@pytest.mark.parametrize(("edges", "more"), [("declared", 0), ("private_quantiles", 1)])
def test_a_job_states_as_many_releases_as_it_plans(rounds: int, edges: str, more: int) -> None:
    stated = job(("visits", "region"), rounds=rounds, edges=edges)
    assert stated.model.releases == rounds + more
    planned = planned_releases(stated, public_binning(stated, SCHEMA))
    assert [release.index for release in planned] == list(range(rounds + more))


def test_the_survey_comes_first_and_is_noised_like_every_other_release() -> None:
    """Cells: 10 + missing, 10, 3 ages; one customer adds GRID to one cell of three columns."""
    plan, release = planned_sums(ALL, FINE)[0], planned_releases(ALL, FINE)[0]
    assert plan.survey
    assert plan.name == release.name == "survey: counts of number columns on a fine public grid"
    assert plan.length == 11 + 10 + 3
    assert plan.l2_bound == math.ceil(math.sqrt(3) * GRID)
    assert isinstance(release.event, GaussianEvent)
    assert release.event.noise_multiplier == 8.0
    assert release.event.sigma >= 8.0 * plan.l2_bound


def test_rounds_are_planned_with_the_most_bins_a_survey_can_give() -> None:
    """4 + missing, 2 regions, 4, and the 3 ages there are: 14 bins."""
    survey, *rounds = planned_sums(ALL, FINE)
    assert [plan.length for plan in rounds] == [28, 14, 14]
    assert not survey.at_most
    assert all(plan.at_most for plan in rounds)


def test_edges_are_the_quantiles_of_the_released_counts_without_the_missing() -> None:
    counts = np.zeros(24, dtype=np.int64)
    counts[:11] = [5, 5, 5, 5, 0, 0, 0, 0, 0, 0, 1000]
    counts[11:21] = [0, 0, 0, 0, 0, 0, 2, 2, 2, 2]
    counts[21:] = [1, 1, 1]
    edges = edges_from_survey(counts * GRID, FINE, max_bins=4)
    visits, _, _, age = FINE.features
    assert edges["visits"] == edges_from_noised_counts(counts[:10] * 1.0, visits.edges, 4)
    assert edges["visits"] == (1.0, 2.0, 3.0)
    assert edges["spend"] == (70.0, 80.0, 90.0)
    assert edges["age"] == edges_from_noised_counts(counts[21:] * 1.0, age.edges, 4)


def test_a_column_of_one_declared_value_needs_no_edge() -> None:
    schema = TableSchema(
        customer_key="k", columns=(Column(name="n", kind="integer", bounds=(0.5, 1.5)),)
    )
    grid = public_binning(job(("n",)), schema)
    assert edges_from_survey(np.array([GRID]), grid, max_bins=4) == {"n": ()}


def test_edges_on_the_grid_are_taken() -> None:
    check_edges(EDGES, FINE, max_bins=4)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"visits": (2.0, 5.5)}, "on its grid"),
        ({"visits": (5.0, 2.0)}, "rise"),
        ({"visits": (2.0, 2.0)}, "rise"),
        ({"visits": (1.0, 2.0, 3.0, 4.0)}, "more edges"),
        ({"region": (1.0,)}, "number columns"),
        ({"income": (1.0,)}, "number columns"),
    ],
)
def test_edges_no_survey_can_give_are_refused(
    changed: dict[str, tuple[float, ...]], problem: str
) -> None:
    with pytest.raises(MessageInvalid, match=problem):
        check_edges({**EDGES, **changed}, FINE, max_bins=4)


@pytest.mark.parametrize("missing", [{}, {"visits": (2.0,)}])
def test_edges_that_leave_a_number_column_out_are_refused(
    missing: dict[str, tuple[float, ...]],
) -> None:
    with pytest.raises(MessageInvalid, match="number columns"):
        check_edges(missing, FINE, max_bins=4)


def test_a_survey_of_no_number_column_is_refused() -> None:
    with pytest.raises(JobInvalid, match="declared"):
        public_binning(job(("region",)), SCHEMA)
    assert public_binning(job(("region",), edges="declared"), SCHEMA).total == 2


def test_a_grid_coarser_than_the_bins_is_refused() -> None:
    with pytest.raises(ValidationError, match="grid_bins"):
        AdditiveSettings(max_bins=64, grid_bins=32)


def test_more_customers_than_the_one_public_limit_are_refused() -> None:
    """A broadcast view stands in for the table."""
    rows = MOST_CUSTOMERS + 1
    many = Examples(
        np.broadcast_to(np.zeros(4, np.uint16), (rows, 4)),
        np.broadcast_to(np.zeros(1, np.uint8), (rows,)),
    )
    with pytest.raises(RangeExceeded):
        survey_counts(many, Binning(FINE.features))


def test_what_members_sign_stands_for_the_edges_too() -> None:
    asked = MaskRequest(sum_index=1, intercept=0.0, effects=b"", edges=EDGES)
    other = asked.model_copy(update={"edges": {**EDGES, "visits": (2.0, 6.0)}})
    assert asked.model_hash() != other.model_hash()


def test_edges_cross_the_wire_unchanged_and_only_as_numbers() -> None:
    edges = {"visits": (0.1, 1 / 3, 5.0)}
    asked = MaskRequest(sum_index=1, intercept=0.0, effects=b"", edges=edges)
    assert parse_request("mask/1", asked.to_bytes()) == asked
    spoilt = asked.model_copy(update={"edges": {"visits": (math.nan,)}})
    with pytest.raises(MessageInvalid):
        parse_request("mask/1", spoilt.to_bytes())
