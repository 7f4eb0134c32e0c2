"""The settings of a partner's node, read from `node.toml` in its home folder."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator

from fedmkt.contract.schema import Name
from fedmkt.core.errors import ReproducibleNoiseRefused, SettingInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.data.sources import SourceSettings
from fedmkt.privacy.mechanisms import NoiseSource, OsNoise, ReproducibleNoise
from fedmkt.storage.whole_file import read_text


class NodeSettings(Frozen):
    """Who this node is, where its tables are and where its noise comes from.

    situation: `deployed`, or `simulated` on somebody's own machine. noise_seed: a reproducible
    source of noise, for simulated nodes alone. store: SQL URL of the ledger, which may hold a
    password; default: SQLite in the home folder. consents: for each dataset that needs it, the
    table of who agreed to what (columns key, purpose, status, time).
    """

    member: Name
    situation: Literal["deployed", "simulated"] = "deployed"
    noise_seed: int | None = Field(default=None, ge=0)
    store: SecretStr | None = None
    datasets: dict[str, SourceSettings]
    consents: dict[str, SourceSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> "NodeSettings":
        if not self.datasets:
            raise ValueError("datasets: name at least one table of this node")
        return self

    def noise_source(self) -> NoiseSource:
        """Return where noise comes from. Raises: ReproducibleNoiseRefused when deployed."""
        if self.noise_seed is None:
            return OsNoise()
        # Privacy: noise that somebody can draw again can be taken off again.
        if self.situation == "deployed":
            raise ReproducibleNoiseRefused(where="node.toml (noise_seed)")
        return ReproducibleNoise(self.noise_seed)


def read_settings(path: Path) -> NodeSettings:
    """Read a node.toml. Raises: FileMissing, SettingInvalid."""
    text = read_text(path, what="node", advice="Give --home the folder of a node.")
    try:
        return NodeSettings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(setting=path.name, problem=f"not TOML: {error}") from None
    except ValidationError as error:
        raise SettingInvalid(setting=path.name, problem=first_problem(error)) from None
