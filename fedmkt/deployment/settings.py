"""The coordinator's own settings, read from `coordinator.toml` in its home folder.

host, port: where partners reach it, over TLS. control_port: of the SuperLink on loopback, for the
operator alone. Beside it tls/: ca.crt, server.pem and server.key, made by `coordinator init` or
brought along.
"""

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.storage.whole_file import read_text

COORDINATOR_FILE = "coordinator.toml"
Port = Field(ge=1, le=65535)


class CoordinatorSettings(Frozen):
    """Where a coordinator listens. name: the coordinator's in the contract."""

    name: str = Field(min_length=1)
    host: str = Field(min_length=1)
    port: int = Port
    control_port: int = Port

    @property
    def address(self) -> str:
        """Return where partners reach it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_coordinator_settings(home: Path) -> CoordinatorSettings:
    """Read a coordinator.toml. Raises: FileMissing, SettingInvalid."""
    advice = "Give --home the folder that fedmkt coordinator init made."
    text = read_text(home / COORDINATOR_FILE, what="coordinator", advice=advice)
    try:
        return CoordinatorSettings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(setting=COORDINATOR_FILE, problem=f"not TOML: {error}") from None
    except ValidationError as error:
        raise SettingInvalid(setting=COORDINATOR_FILE, problem=first_problem(error)) from None
