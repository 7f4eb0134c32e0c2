"""The kinds of audit record that stand for an answered step of a run.

Guarantee: recovery after a crash (`fedmkt.node.home`) reads exactly these, and no other kind can be
the record of an answer.
"""

from typing import Literal, get_args

StepRecord = Literal["opened", "shared", "released", "voted", "unmasked", "answered", "ended"]
STEP_RECORDS: frozenset[str] = frozenset(get_args(StepRecord))
