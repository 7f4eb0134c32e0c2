"""A batch scoring of aligned customers, at a node: partners' parts in, totals at the label owner.

Guarantee: the owner sees for each customer the total of all partners' parts (and each part, where
the contract allows it); the coordinator sees masked numbers. Each partner counts it as one exact
total more for its customers, against their cap for life.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import expit

from fedmkt.contract.vertical_jobs import ScoringJob
from fedmkt.core.errors import MessageInvalid, ModelUnknown, StepOutOfOrder
from fedmkt.core.stages import IntArray
from fedmkt.data.aligned import AlignedRows
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.alignments import AlignedProgram, Alignment, aligned_rows, alignment_for
from fedmkt.node.answer import Answer, Priced
from fedmkt.node.home import NodeHome
from fedmkt.node.model_parts import ModelPart, keep_table, part_for
from fedmkt.node.rounds import (
    WORD_BYTES,
    check_turn,
    entered,
    masked_units,
    most_steps,
    opened_total,
    padded_to,
    to_turn,
    turn,
    unpadded,
)
from fedmkt.node.shared_state import SharedState, begin, opened, price_shared
from fedmkt.node.vertical_partner import STAGE
from fedmkt.vertical.party import levels_of, step_size
from fedmkt.vertical.plan import score_releases
from fedmkt.wire.shared import DoneReply, ResultRequest, ScoresReply, ScoresRequest
from fedmkt.wire.steps import Request

SCORES = "scores"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a scoring reads at a node."""

    alignment: Alignment
    part: ModelPart
    rows: AlignedRows


class ScoringProgram(AlignedProgram[ScoringJob, Priced, Loaded]):
    """Scores the customers of an alignment with a model that members keep in parts."""

    def price(self, home: NodeHome, job: ScoringJob) -> Priced:
        """Check and price a job."""
        releases = () if home.member == job.owner else score_releases(job)
        priced = price_shared(home, job, releases, claimed=None, delta=1e-5)
        alignment_for(home, job, priced.dataset)
        part = part_for(home, job, job.model)
        # Privacy: totals with and without a partner would show that partner's part of them.
        if set(job.members) != set(part.members):
            raise ModelUnknown(run=job.model, problem="fewer members than trained it")
        return priced

    def load(self, home: NodeHome, priced: Priced) -> Loaded:
        """Read the aligned customers' columns."""
        job = priced.job
        assert isinstance(job, ScoringJob)
        alignment = alignment_for(home, job, priced.dataset)
        part = part_for(home, job, job.model)
        rows = aligned_rows(home, priced.dataset, alignment, part.model.binning, None)
        return Loaded(alignment, part, rows)

    def open(self, home: NodeHome, run: str, priced: Priced, loaded: Loaded) -> Answer:
        """Make this run's keys; state which alignment this member holds."""
        job = priced.job
        assert isinstance(job, ScoringJob)
        state, bundle = begin(home, run, job, {"alignment": loaded.alignment.digest})
        first = "result" if home.member == job.owner else "scores"
        state = state.remembering(**to_turn(first, 0))
        return opened(bundle, state, priced.dataset.name, {"model": job.model})

    def step(
        self,
        home: NodeHome,
        state: SharedState,
        request: Request,
        data: Callable[[], tuple[Priced, Loaded]],
    ) -> Answer:
        """Answer one request."""
        match request:
            case ScoresRequest():
                return _scores(home, state, request, data()[1])
            case ResultRequest():
                return _result(home, state, request, data()[1])
        raise StepOutOfOrder(step=request.kind, run=state.run)

    def keep(
        self,
        home: NodeHome,
        run: str,
        state: SharedState,
        *,
        finished: bool,
        model: bytes,  # noqa: ARG002
    ) -> str:
        """Keep the scores at the label owner."""
        if finished and "customer_keys" in state.memory:
            keep_table(home, SCORES, run, _table(state))
        return ""


def _job(state: SharedState) -> ScoringJob:
    assert isinstance(state.job, ScoringJob)
    return state.job


def _scores(home: NodeHome, state: SharedState, request: ScoresRequest, loaded: Loaded) -> Answer:
    """Send this partner's part of each score, masked for the total."""
    job = _job(state)
    check_turn(state, "scores", request.index, expected=turn(state))
    state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    part = loaded.part
    units = levels_of(part.model, loaded.rows.codes, limit=part.limit, levels=part.steps)
    padded = loaded.alignment.padded
    masked = masked_units(state, units.astype(np.int64), job.owner, 0, padded)
    shown = b""
    if job.parts:
        part_of_all = padded_to(units.astype("<i4").tobytes(), WORD_BYTES * padded)
        shown = state.keys.seal_to(job.owner, "part", part_of_all)
    stage = STAGE if not job.parts else f"{STAGE} ShownPart"
    facts: dict[str, JSON] = {"stages": stage, "parts": job.parts}
    state = state.passed(stage).remembering(**to_turn("close", 0))
    return Answer(ScoresReply(masked=masked, part=shown), state, "released", facts, commits=(0,))


def _result(home: NodeHome, state: SharedState, request: ResultRequest, loaded: Loaded) -> Answer:
    """Put the owner's own part and the partners' total together."""
    job, part = _job(state), loaded.part
    check_turn(state, "result", 0, expected=turn(state))
    state = entered(home, state, request.bundles, job.alignment, loaded.alignment.digest)
    columns = sum(_declared_columns(home, job, partner) for partner in job.partners)
    most = most_steps(columns, part.steps)
    total = opened_total(state, request.total, 0, loaded.alignment, most=most)
    parts = _parts(state, request, total)
    size = step_size(limit=part.limit, levels=part.steps)
    own = part.model.scores(loaded.rows.codes)
    state = state.remembering(
        customer_keys=list(loaded.alignment.customer_keys),
        own=own.astype("<f8").tobytes(),
        total=(total * size).astype("<f8").tobytes(),
        parts=parts,
        size=size,
        **to_turn("close", 0),
    )
    return Answer(DoneReply(), state, "answered", {"partners": list(job.partners)})


def _declared_columns(home: NodeHome, job: ScoringJob, partner: str) -> int:
    """Return how many columns a partner's dataset has: at least its features in the model."""
    party = job.party(partner)
    assert party is not None
    dataset = home.contract.dataset(party.dataset)
    assert dataset is not None
    return len(dataset.table.columns)


def _parts(state: SharedState, request: ResultRequest, total: IntArray) -> dict[str, bytes]:
    """Open each partner's part, little-endian 32-bit steps. Raises: SealBroken, MessageInvalid."""
    job = _job(state)
    if set(request.parts) != set(job.partners if job.parts else ()):
        raise MessageInvalid(kind="scores", problem="not the parts that were agreed")
    parts = {
        partner: unpadded(state.keys.open_from(partner, "part", sealed))
        for partner, sealed in request.parts.items()
    }
    if any(len(data) != WORD_BYTES * len(total) for data in parts.values()):
        raise MessageInvalid(kind="scores", problem="not one number a customer")
    added = sum(np.frombuffer(data, dtype="<i4").astype(np.int64) for data in parts.values())
    if parts and not np.array_equal(added, total):
        raise MessageInvalid(kind="scores", problem="the parts do not add up to the total")
    return parts


def _table(state: SharedState) -> pl.DataFrame:
    memory = state.memory
    own, total = (np.frombuffer(memory[name], dtype="<f8") for name in ("own", "total"))
    parts = {
        f"part of {partner}": np.frombuffer(data, dtype="<i4") * memory["size"]
        for partner, data in memory["parts"].items()
    }
    score = own + total
    table = pl.DataFrame(
        {
            "customer": memory["customer_keys"],
            "score": score,
            "probability": expit(score),
            "own part": own,
            "partners' parts": total,
            **parts,
        }
    )
    return table.sort("score", descending=True)
