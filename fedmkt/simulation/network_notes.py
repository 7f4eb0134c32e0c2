"""What a report says of a network's training beside its figures: what left, and who saw it.

Guarantee: what left follows from the job and the public schema, as it does for a node's price.
"""

from fedmkt.contract.job import Job, NetworkJob
from fedmkt.contract.schema import TableSchema
from fedmkt.horizontal.network_plan import job_shape, planned_network

_SEEN = (
    "The job's joining rule, {rule}, needs every update by itself: the coordinator saw each "
    "partner's, unmasked. The contract allows it (`updates_seen`)."
)
_MASKED = "Updates left masked: the coordinator saw their sum over partners alone."


def notes_of(job: Job | NetworkJob, schema: TableSchema) -> tuple[str, ...]:
    """Return the notes on a job's training; none on an additive model's."""
    if not isinstance(job, NetworkJob):
        return ()
    model = job.model
    count, first, *_ = planned_network(job, job_shape(job, schema))
    what = first.name.partition(": ")[2]
    notes = [
        f"The model is a network: {_layers(job)}, trained by {model.algorithm}.",
        f"Each partner released {model.rounds + 1} times: a {count.name}, then in each of "
        f"{model.rounds} rounds {'' if model.sums_gradients else 'a '}{what} ({first.length:,} "
        "numbers).",
        _SEEN.format(rule=model.joining.rule) if job.updates_seen else _MASKED,
    ]
    if model.personal_head:
        notes.append(
            "Each partner keeps a last layer of its own, which left nobody: figures are of the "
            "parameters that all have in common, under the last layer they started from, and say "
            "nothing of any partner's own model."
        )
    return tuple(notes)


def _layers(job: NetworkJob) -> str:
    model = job.model
    if not model.width:
        return "a linear one"
    blocks = f" and {model.blocks} residual blocks" if model.blocks else ""
    return f"hidden layers {model.width} wide{blocks}"
