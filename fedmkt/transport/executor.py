"""Flower's executor, which starts the coordinator's app, without its token in the command line.

    python -m fedmkt.transport.executor [flower-superexec's own options]

Guarantee: an app's token reaches it by an open file that has no name, not as an argument: arguments
of every process can be read by every user of a machine, and with a running app's token its routes
of the SuperLink are open. The process does not start with a Flower whose executor starts apps
in another way than the tested one.
Not guaranteed: anything against this user's own processes and root.
"""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from fedmkt.core.errors import FedmktError, SettingInvalid
from fedmkt.transport.tested import is_tested

_EXECUTOR = "flwr.supercore.superexec.executor.subprocess_executor"
_STARTS = "subprocess"
TOKEN, TOKEN_FILE = "--token", "--token-file"


def start_without_token(arguments: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a process whose `--token TOKEN` becomes a file that it alone has open."""
    words = list(arguments)
    place = words.index(TOKEN)
    with tempfile.TemporaryFile() as file:
        file.write(words[place + 1].encode())
        file.seek(0)
        words[place : place + 2] = [TOKEN_FILE, f"/dev/fd/{file.fileno()}"]
        # Flower's own arguments, but for the token's place.
        return subprocess.Popen(words, pass_fds=(file.fileno(),), **options)  # noqa: S603


def hide_tokens(installed: str | None = None) -> None:
    """Have Flower's executor of this process start apps so.

    Raises: SettingInvalid with a Flower that was not tested, or has no such place.
    """
    executor = importlib.import_module(_EXECUTOR)
    if not is_tested(installed) or getattr(executor, _STARTS, None) is not subprocess:
        # Security: with another version tokens might stand in command lines again, unseen.
        raise SettingInvalid(setting="flwr", problem="this version may show tokens to all users")
    hiding = SimpleNamespace(Popen=start_without_token, DEVNULL=subprocess.DEVNULL)
    setattr(executor, _STARTS, hiding)


def main() -> None:
    """Run the executor. The arguments are flower-superexec's."""
    flower = importlib.import_module("flwr.supercore.cli")
    try:
        hide_tokens()
    except FedmktError as error:
        sys.exit(f"{error.code}: {error}")
    sys.argv[0] = "flower-superexec"
    flower.flower_superexec()


if __name__ == "__main__":
    main()
