"""What a node keeps of a model over several members' columns: its own part, and what came of it.

    parts/HASH       sealed: this member's part of a run's model; at the label owner also the total
                     of the partners' parts for each aligned customer
    value/HASH.json  at the label owner: what the partners' columns added, measured on the holdout
    scores/HASH.parquet     at the label owner: scores of aligned customers
    segments/HASH.parquet   at a partner: its own customers by size bin, from a student model

HASH is the start of the run's SHA-256. Guarantee: none of it leaves the node by itself; files are
written whole or not at all, and are readable by this node's user alone.
"""

import json
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.vertical_jobs import OwnedJob
from fedmkt.core.errors import ModelUnknown, ResultUnknown, SealBroken
from fedmkt.evidence.value_report import ValueReport, value_report_from
from fedmkt.identity.keys import Identity
from fedmkt.identity.sealed import open_sealed, seal
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.home import NodeHome
from fedmkt.node.kept_files import file_name
from fedmkt.storage.whole_file import write_private
from fedmkt.vertical.party import as_shown
from fedmkt.wire.canonical import decode_kept, encode

_LABEL = "model part"


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One member's part of a run's model.

    model: over this member's public bins; the owner's holds the intercept of all. total: at the
    owner, (aligned rows,) whole steps that the partners' parts add to each customer's score.
    levels, limit: how finely a part counts in scores; no levels for a student, which counts in
    nobody's. customers: training rows; for a student the noised overlap it was learnt from.
    """

    run: str
    alignment: str
    owner: str
    members: tuple[str, ...]
    target: str
    levels: int | None
    limit: float
    customers: int
    model: AdditiveModel = field(repr=False)
    total: NDArray[np.int32] | None = field(default=None, repr=False)

    def counted(self, member: str) -> AdditiveModel:
        """Return the part as it counts in a score: rounded at partners, as it is at the owner."""
        if self.levels is None or member == self.owner:
            return self.model
        return as_shown(self.model, limit=self.limit, levels=self.levels)

    @property
    def steps(self) -> int:
        """Return the levels of a part that counts in scores. Raises: ModelUnknown for a student."""
        if self.levels is None:
            raise ModelUnknown(run=self.run, problem="scores: it is a student")
        return self.levels


def keep_part(home: NodeHome, part: ModelPart) -> str:
    """Write a part, sealed, and return its model's hash. Raises: OutputUnwritable."""
    plain = {
        "run": part.run,
        "alignment": part.alignment,
        "owner": part.owner,
        "members": list(part.members),
        "target": part.target,
        "levels": part.levels,
        "limit": part.limit,
        "customers": part.customers,
        "model": part.model.to_json(),
        "total": b"" if part.total is None else part.total.astype("<i4").tobytes(),
    }
    sealed = seal(home.identity.derive_key(_LABEL), encode(plain), context=part.run.encode())
    write_private(part_path(home.folder, part.run), sealed)
    return part.model.hash


def read_part(home: NodeHome, run: str) -> ModelPart:
    """Return this member's part of a run's model. Raises: ModelUnknown."""
    path = part_path(home.folder, run)
    try:
        key = home.identity.derive_key(_LABEL)
        data = open_sealed(key, path.read_bytes(), context=run.encode(), what=_LABEL)
    except (FileNotFoundError, SealBroken):
        raise ModelUnknown(run=run, problem="any job") from None
    plain: dict[str, Any] = decode_kept(data, kind=_LABEL)
    total = np.frombuffer(plain["total"], dtype="<i4").astype(np.int32)
    return ModelPart(
        **{
            **plain,
            "members": tuple(plain["members"]),
            "model": AdditiveModel.from_json(plain["model"]),
            "total": total if plain["total"] else None,
        }
    )


def part_path(folder: Path, run: str) -> Path:
    """Return where in a home the part of a run's model lies."""
    return folder / "parts" / file_name(run)


def resealed_part(old: Identity, new: Identity, run: str, sealed: bytes) -> bytes:
    """Return a kept part as another identity keeps it. Raises: SealBroken."""
    context = run.encode()
    data = open_sealed(old.derive_key(_LABEL), sealed, context=context, what=_LABEL)
    return seal(new.derive_key(_LABEL), data, context=context)


def part_for(home: NodeHome, job: OwnedJob, model: str) -> ModelPart:
    """Return this member's part of the model a job names, if it may be used for it.

    Raises: ModelUnknown (none, or of another alignment, owner or members).
    """
    part = read_part(home, model)
    if part.alignment != job.alignment:
        raise ModelUnknown(run=model, problem=f"alignment {job.alignment}")
    if part.owner != job.owner or not set(job.members) <= set(part.members):
        raise ModelUnknown(run=model, problem="these members")
    return part


def keep_value(home: NodeHome, run: str, value: ValueReport) -> None:
    """Write what a training was worth, for the label owner's own people."""
    data = json.dumps(value.document(), indent=2).encode()
    write_private(home.folder / "value" / f"{file_name(run)}.json", data)


def read_value(home: NodeHome, run: str) -> ValueReport:
    """Return what `keep_value` wrote. Raises: ResultUnknown."""
    path = home.folder / "value" / f"{file_name(run)}.json"
    if not path.is_file():
        raise ResultUnknown(run=run, what="value report", known="")
    return value_report_from(json.loads(path.read_bytes()))


def keep_table(home: NodeHome, folder: str, run: str, table: pl.DataFrame) -> None:
    """Write a table of this node's own customers below `folder`."""
    data = BytesIO()
    table.write_parquet(data)
    write_private(table_path(home, folder, run), data.getvalue())


def read_table(home: NodeHome, folder: str, run: str) -> pl.DataFrame:
    """Return what `keep_table` wrote. Raises: ResultUnknown."""
    path = table_path(home, folder, run)
    if not path.is_file():
        raise ResultUnknown(run=run, what=f"table of {folder}", known="")
    return pl.read_parquet(path, memory_map=False)


def table_path(home: NodeHome, folder: str, run: str) -> Path:
    """Return where a run's table of `folder` lies."""
    return home.folder / folder / f"{file_name(run)}.parquet"
