"""The node's side of a network's training: a count, then one update a round.

Each is masked for the secure sum; where job and contract let updates be seen, it is given out as it
is.

Guarantee: nothing here sends, stores or spends, as in `fedmkt.node.training`. A round's update is
made once, under a reservation for it, from a stream of its own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fedmkt.contract.job import NetworkJob
from fedmkt.contract.permissions import UpdatesSeen
from fedmkt.core.errors import MessageInvalid
from fedmkt.core.stages import NoiselessUpdate, PrivateUpdate, TrainedUpdate
from fedmkt.horizontal.network_plan import COUNT, check_customers, job_shape
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.horizontal.network_update import (
    Asked,
    Memory,
    count_update,
    round_update,
    with_head,
)
from fedmkt.identity.hash_chain import JSON
from fedmkt.models.kept import model_bytes
from fedmkt.models.network_shape import (
    NetworkCoder,
    NetworkWeights,
    parameter_bytes,
    parameters_of,
)
from fedmkt.node.answer import Answer, Program, Stated
from fedmkt.node.home import NodeHome
from fedmkt.node.kept_files import keep_model, keep_scorecard
from fedmkt.node.network_data import PricedNetwork, price_network
from fedmkt.node.secure_sums import (
    SummedRun,
    answer_sum,
    check_noised,
    check_sum,
    mask_sum,
    open_sums,
    show_update,
    sums_of,
)
from fedmkt.node.training_data import read_examples
from fedmkt.node.wording import noise_words
from fedmkt.wire.canonical import decode_kept, encode
from fedmkt.wire.steps import Request
from fedmkt.wire.training import UpdateRequest


@dataclass(frozen=True, slots=True)
class NetworkRun(SummedRun):
    """What a node remembers of a network's training between messages; kept sealed."""

    job: NetworkJob
    memory: Memory = field(default_factory=Memory, repr=False)

    def to_bytes(self) -> bytes:
        """Return the bytes to seal."""
        kept = self.memory
        arrays = [parameter_bytes(kept.control), parameter_bytes(kept.head)]
        return encode([*self.sums_bytes(), kept.customers, *arrays])

    @classmethod
    def from_bytes(cls, data: bytes) -> "NetworkRun":
        """Read the bytes that were sealed."""
        *sums, customers, control, head = decode_kept(data, kind="run state")
        job, member, next_sum, has_inbox, stages = sums_of(sums)
        assert isinstance(job, NetworkJob)
        memory = Memory(customers, parameters_of(control), parameters_of(head))
        return cls(job, member, next_sum, has_inbox, stages, memory)


class NetworkTraining(Program[NetworkJob, PricedNetwork, NetworkRun, NetworkRows]):
    """Partners hold the same columns for their own customers; sums of updates leave them."""

    def price(self, home: NodeHome, job: NetworkJob) -> PricedNetwork:
        """Check and price a job."""
        return price_network(home, job)

    def stated(self, home: NodeHome, job: NetworkJob) -> Stated:  # noqa: ARG002
        """Return what a receipt says of the job."""
        trust = job.privacy.trust
        mode = f"{trust}, updates seen" if job.updates_seen else trust
        return Stated(job.dataset, mode, job.privacy.delta, trust)

    def load(self, home: NodeHome, priced: PricedNetwork) -> NetworkRows:
        """Read this node's customers and keep their table's scorecard."""
        coder = NetworkCoder(priced.shape)
        examples, card = read_examples(home, priced.dataset, priced.job, coder)
        check_customers(examples.rows)
        keep_scorecard(home, priced.dataset.name, card)
        return NetworkRows(coder.inputs(examples.codes), examples.target)

    def open(self, home: NodeHome, run: str, priced: PricedNetwork, loaded: NetworkRows) -> Answer:  # noqa: ARG002
        """Make this run's keys."""
        member, reply, facts = open_sums(home, run, priced.job, len(priced.sums))
        return Answer(reply, NetworkRun(priced.job, member), "opened", facts)

    def step(
        self,
        home: NodeHome,
        state: NetworkRun,
        request: Request,
        data: Callable[[], tuple[PricedNetwork, NetworkRows]],
    ) -> Answer:
        """Answer one request."""
        if isinstance(request, UpdateRequest):
            return _update(home, state, request, *data())
        return answer_sum(home, state, request)

    def state(self, data: bytes) -> NetworkRun:
        """Read a state's bytes."""
        return NetworkRun.from_bytes(data)

    def keep(
        self, home: NodeHome, run: str, state: NetworkRun, *, finished: bool, model: bytes
    ) -> str:
        """Keep a finished run's model, with this node's own head where it has one.

        The hash is that of the model all partners were sent.
        """
        if not model:
            return ""
        weights = _sent(home, state.job, model)
        shared = keep_model(home, run, model)
        if finished and state.memory.head.size:
            keep_model(home, run, model_bytes(with_head(weights, state.memory)))
        return shared


def _sent(home: NodeHome, job: NetworkJob, model: bytes) -> NetworkWeights:
    """Return the network that the coordinator sent. Raises: MessageInvalid for another job's."""
    try:
        weights = NetworkWeights.from_json(json.loads(model))
    except ValueError:
        raise MessageInvalid(kind="close", problem="its model cannot be read") from None
    dataset = home.contract.dataset(job.dataset)
    assert dataset is not None, "the run was opened over it"
    if weights.shape != job_shape(job, dataset.table):
        raise MessageInvalid(kind="close", problem="its model is not the job's")
    return weights


def _update(
    home: NodeHome,
    state: NetworkRun,
    request: UpdateRequest,
    priced: PricedNetwork,
    rows: NetworkRows,
) -> Answer:
    """Make the update of a sum; its release must be committed to leave."""
    index = request.sum_index
    check_sum(state, index, sums=len(priced.sums))
    update, memory = _made(home, state, request, priced, rows)
    plan, event = priced.sums[index], priced.releases[index].event
    # Privacy: the price was set for exactly this length, before data were read.
    assert len(update.values) == plan.length
    check_noised(update, event)
    state, made_of = replace(state, memory=memory), type(rows).__name__
    asked, inbox = request.model_hash(), request.inbox
    kept, reply = (
        show_update(state, index, update, UpdatesSeen(priced.dataset), made_of=made_of)
        if state.job.updates_seen
        else mask_sum(state, index, update, made_of=made_of, asked=asked, inbox=inbox)
    )
    facts: dict[str, JSON] = {
        "name": plan.name,
        "event": noise_words(event),
        "stages": kept.stages[-1],
    }
    return Answer(reply, kept, "released", facts, commits=(index,))


def _made(
    home: NodeHome,
    state: NetworkRun,
    request: UpdateRequest,
    priced: PricedNetwork,
    rows: NetworkRows,
) -> tuple[PrivateUpdate | TrainedUpdate | NoiselessUpdate, Memory]:
    label = f"{state.secure_sum.run}/{request.sum_index}/{home.member}"
    if request.sum_index == COUNT:
        if request.parameters or request.control:
            raise MessageInvalid(kind="update", problem="a count has no network")
        return count_update(rows, priced.job, home.noise.stream(label))
    asked = _asked(request, priced)
    stream = home.noise.key_stream(label)
    return round_update(rows, priced.job, priced.shape, state.memory, asked, stream)


def _asked(request: UpdateRequest, priced: PricedNetwork) -> Asked:
    """Return what is asked. Raises: MessageInvalid for arrays that are not the job's."""
    parameters, control = parameters_of(request.parameters), parameters_of(request.control)
    length = priced.shape.length
    wanted = length if priced.job.model.algorithm == "scaffold" else 0
    if parameters.shape != (length,) or control.shape != (wanted,):
        raise MessageInvalid(kind="update", problem="its network is not the job's")
    return Asked(request.sum_index, parameters, control)
