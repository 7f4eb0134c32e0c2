"""The operator's token: a line in a file that only its owner can read.

Guarantee: a file that others could read is refused; the token is in no repr, and is compared in
constant time. Write the file with `write_private`: 32 bytes of the operating system's generator,
as text (`secrets.token_urlsafe(32)`).
"""

import hmac
import stat
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedmkt.core.errors import FileMissing, SettingInvalid

_LEAST_CHARACTERS = 32
_NOT_THE_OWNER = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """What the operator shows to the control routes."""

    value: str = field(repr=False)

    def equals(self, shown: str | bytes) -> bool:
        """Return whether this token was shown."""
        shown = shown.encode() if isinstance(shown, str) else shown
        return hmac.compare_digest(self.value.encode(), shown)

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Show the token with a request: Flower's interface for a client's credentials."""
        context.request.headers["authorization"] = f"Bearer {self.value}"
        return call_next(context)


def read_operator_token(path: Path) -> OperatorToken:
    """Read a token. Raises: FileMissing; SettingInvalid (others can read it, or it is short)."""
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise FileMissing(what="operator's token", path=path, advice="Make one first.") from None
    except (OSError, UnicodeDecodeError):
        raise SettingInvalid(setting=str(path), problem="it cannot be read as a token") from None
    if mode & _NOT_THE_OWNER:
        raise SettingInvalid(setting=str(path), problem="others can read it; make its mode 0600")
    if len(text) < _LEAST_CHARACTERS or not text.isprintable() or " " in text:
        problem = f"it is not a token of {_LEAST_CHARACTERS} characters or more"
        raise SettingInvalid(setting=str(path), problem=problem)
    return OperatorToken(text)
