"""What a node keeps sealed, under another identity: alignments and parts of models.

Guarantee: nothing is written here, and no table is read; whoever calls puts all of it in place, or
none. Run states are not among it: an open run is of a contract that names the old identity.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from fedmkt.core.errors import SealBroken
from fedmkt.identity.keys import Identity
from fedmkt.node.alignments import alignment_path, resealed_alignment
from fedmkt.node.model_parts import part_path, resealed_part
from fedmkt.storage.pending_change import NewFile

Reseal = Callable[[Identity, Identity, str, bytes], bytes]
_KEPT: tuple[tuple[Callable[[Path, str], Path], Reseal], ...] = (
    (alignment_path, resealed_alignment),
    (part_path, resealed_part),
)


def resealed(
    folder: Path, runs: Iterable[str], old: Identity, new: Identity
) -> dict[Path, NewFile]:
    """Return what these runs left sealed in a home, sealed under `new`, by path in the home.

    What does not open under `old` is left as it is: it was nobody's before, and stays so.
    """
    found = {}
    for run in runs:
        for path_of, reseal in _KEPT:
            path = path_of(folder, run)
            if not path.is_file():
                continue
            try:
                sealed = reseal(old, new, run, path.read_bytes())
            except SealBroken:
                continue
            found[path.relative_to(folder)] = NewFile(sealed)
    return found
