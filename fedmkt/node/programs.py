"""Which program runs which kind of job, and how a run's state tells its kind."""

from fedmkt.contract.job import AnyJob
from fedmkt.node.alignment import AlignmentProgram
from fedmkt.node.answer import Program, RunState
from fedmkt.node.expansion import ExpansionProgram
from fedmkt.node.overlap import OverlapProgram
from fedmkt.node.scoring import ScoringProgram
from fedmkt.node.training import HorizontalTraining
from fedmkt.node.vertical import VerticalTraining
from fedmkt.wire.canonical import decode, encode

_PROGRAMS: dict[str, Program] = {
    "horizontal": HorizontalTraining(),
    "overlap": OverlapProgram(),
    "alignment": AlignmentProgram(),
    "vertical": VerticalTraining(),
    "scoring": ScoringProgram(),
    "expansion": ExpansionProgram(),
}


def program_for(job: AnyJob) -> Program:
    """Return the program of the job's kind."""
    return _PROGRAMS[job.kind]


def state_bytes(state: RunState) -> bytes:
    """Return a state's bytes with the kind of its job."""
    return encode([state.job.kind, state.to_bytes()])


def opened_state(data: bytes) -> tuple[Program, RunState]:
    """Return the program and the state that `state_bytes` wrote."""
    kind, state = decode(data, kind="run state")
    program = _PROGRAMS[kind]
    return program, program.state(state)
