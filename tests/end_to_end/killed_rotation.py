"""Rotates the key of a home's copy again and again, killed one step later each time.

Run as `python killed_rotation.py HOME WORK`. A step is a call that changes the disk; the log's line
is cut in half where it is the step. After each kill the home must open whole, under one key. Prints
how many kills there were, and how many homes had the old and the new key afterwards.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedmkt.contract.membership import parse_card
from fedmkt.deployment.key_rotation import rotate_key
from fedmkt.identity.hash_chain import verify_chain
from fedmkt.node.alignments import read_alignment
from fedmkt.node.home import AUDIT_FILE, hold_to_log, open_home
from fedmkt.node.model_parts import read_part
from fedmkt.storage.key_file import PASSPHRASE, read_key
from fedmkt.storage.pending_change import PENDING

STEPS = ("write", "pwrite", "fsync", "ftruncate", "replace", "rename", "unlink", "rmdir", "mkdir")
KILLED = 9


def kill_at(number: int) -> None:
    """Let this process die instead of taking the step of that number."""
    left = number

    def dying(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def taken(*given: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                if name == "pwrite":
                    file, data, at = given
                    step(file, data[: len(data) // 2], at)
                os._exit(KILLED)
            left -= 1
            return step(*given, **named)

        return taken

    for name in STEPS:
        setattr(os, name, dying(name, getattr(os, name)))


def rotated(home: Path, number: int) -> int:
    """Rotate in a process of its own, killed at a step; return how it ended."""
    child = os.fork()
    if child == 0:
        kill_at(number)
        try:
            rotate_key(home, None, os.environb[PASSPHRASE.encode()])
        except BaseException as error:  # noqa: BLE001
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def key_after(home: Path) -> str:
    """Open everything that hangs on the home's key; return that key."""
    identity = read_key(home / "identity.key")
    opened = open_home(home, identity=identity)
    hold_to_log(opened)
    with (home / AUDIT_FILE).open("rb") as lines:
        verify_chain(lines, identity.public, opened.audit.head, "log")
    read_alignment(opened, "alignment")
    read_part(opened, "training")
    opened.close()
    assert (home / "audit.pub").read_text().strip() == identity.public.hex
    assert parse_card((home / "member.json").read_text(), source="card").key == identity.public.hex
    assert not (home / PENDING).exists()
    return identity.public.hex


def main(template: Path, work: Path) -> dict[str, int]:
    """Kill at one step after the other, until a rotation gets through."""
    old, ended, kept = read_key(template / "identity.key").public.hex, KILLED, []
    while ended == KILLED:
        home = work / str(len(kept))
        shutil.copytree(template, home)
        ended = rotated(home, len(kept))
        kept.append(key_after(home) == old)
        shutil.rmtree(home)
    assert ended == 0
    assert not kept.pop(), "a rotation that got through leaves the new key"
    return {"kills": len(kept), "old": sum(kept), "new": len(kept) - sum(kept)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
