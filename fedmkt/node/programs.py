"""Which program runs which kind of job, and how a run's state tells its kind."""

from dataclasses import dataclass

from fedmkt.contract.job import AnyJob
from fedmkt.node.alignment import AlignmentProgram
from fedmkt.node.answer import AnyProgram, RunState
from fedmkt.node.expansion import ExpansionProgram
from fedmkt.node.overlap import OverlapProgram
from fedmkt.node.scoring import ScoringProgram
from fedmkt.node.training import HorizontalTraining
from fedmkt.node.vertical import VerticalTraining
from fedmkt.wire.canonical import decode_kept, encode

_PROGRAMS: dict[str, AnyProgram] = {
    "horizontal": HorizontalTraining(),
    "overlap": OverlapProgram(),
    "alignment": AlignmentProgram(),
    "vertical": VerticalTraining(),
    "scoring": ScoringProgram(),
    "expansion": ExpansionProgram(),
}


def program_for(job: AnyJob) -> AnyProgram:
    """Return the program of the job's kind."""
    return _program(job.kind)


def _program(kind: str) -> AnyProgram:
    """Return the program of a kind. Raises: ExtraMissing where networks are not installed."""
    if kind == "network":
        # Its library is an extra, and slow to load: nodes that train no network do without.
        from fedmkt.node.network_training import NetworkTraining

        return NetworkTraining()
    if kind == "split":
        from fedmkt.node.split_training import SplitTraining

        return SplitTraining()
    return _PROGRAMS[kind]


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run as it was stored. over: one of its steps failed, so it can be closed and no more."""

    program: AnyProgram
    state: RunState
    over: bool


def state_bytes(state: RunState) -> bytes:
    """Return the bytes of a run that goes on."""
    return encode([state.job.kind, state.to_bytes(), False])


def over_bytes(state: RunState) -> bytes:
    """Return the bytes of a run that is over and was not closed yet."""
    return encode([state.job.kind, state.to_bytes(), True])


def opened_state(data: bytes) -> OpenedRun:
    """Return the run that `state_bytes` or `over_bytes` wrote."""
    kind, state, over = decode_kept(data, kind="run state")
    program = _program(kind)
    return OpenedRun(program, program.state(state), over)
