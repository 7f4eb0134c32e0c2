"""What a node keeps as files in its home for its own people: finished models and scorecards.

    models/HASH.json          a finished run's model; HASH is the start of its name's SHA-256
    quality/HASH.json         the scorecard of a dataset's table when it was last read

None of it leaves the node. A file is written whole or not at all.
"""

import json
from dataclasses import asdict

from fedmkt.core.errors import MessageInvalid
from fedmkt.data.quality import Scorecard
from fedmkt.models.kept import model_from_json
from fedmkt.node.home import NodeHome
from fedmkt.storage.whole_file import write_whole
from fedmkt.wire.canonical import digest


def keep_scorecard(home: NodeHome, dataset: str, card: Scorecard) -> None:
    """Keep the quality scorecard of a dataset's table. Raises: OutputUnwritable."""
    folder = home.folder / "quality"
    folder.mkdir(exist_ok=True)
    data = json.dumps(asdict(card), indent=2).encode()
    write_whole(folder / f"{file_name(dataset)}.json", data)


def keep_model(home: NodeHome, run: str, model: bytes) -> str:
    """Keep a finished run's model in `models/` and return its hash; "" for no model.

    Raises: MessageInvalid when it is not a model.
    """
    if not model:
        return ""
    try:
        parsed = model_from_json(json.loads(model))
    except (ValueError, KeyError, TypeError):
        raise MessageInvalid(kind="close", problem="its model cannot be read") from None
    folder = home.folder / "models"
    folder.mkdir(exist_ok=True)
    write_whole(folder / f"{file_name(run)}.json", model)
    return parsed.hash


def file_name(text: str) -> str:
    """Return the name of the files of a run or dataset."""
    # Security: names come from others; a hash is a safe file name.
    return digest(text.encode())[:16]
