"""The coordinator's own settings, read from `coordinator.toml` in its home folder.

host, port: where partners reach it, over TLS. control_port: of the SuperLink on loopback, for the
operator alone. Beside it tls/: ca.crt, server.pem and server.key, made by `coordinator init` or
brought along.
"""

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from fedmkt.contract.schema import Identifier
from fedmkt.core.errors import SettingInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.storage.whole_file import read_text

COORDINATOR_FILE = "coordinator.toml"
Port = Field(ge=1, le=65535)


class CoordinatorSettings(Frozen):
    """Where a coordinator listens. name: the coordinator's in the contract."""

    name: Identifier
    host: str = Field(pattern=r"^([0-9a-fA-F:]+|[A-Za-z0-9.-]+)$")
    port: int = Port
    control_port: int = Port

    @model_validator(mode="after")
    def _two_ports(self) -> "CoordinatorSettings":
        if self.port == self.control_port:
            raise ValueError("port and control_port must differ")
        return self

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


def make_coordinator_settings(**given: object) -> CoordinatorSettings:
    """Return settings of values that somebody typed. Raises: SettingInvalid."""
    try:
        return CoordinatorSettings.model_validate(given)
    except ValidationError as error:
        problem = first_problem(error)
        raise SettingInvalid(setting="what was given", problem=problem) from None
