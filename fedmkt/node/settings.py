"""The settings of a partner's node, read from `node.toml` in its home folder."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError

from fedmkt.contract.schema import Name
from fedmkt.core.errors import ReproducibleNoiseRefused, SettingInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.data.sources import SourceSettings
from fedmkt.privacy.mechanisms import NoiseSource, OsNoise, ReproducibleNoise
from fedmkt.storage.whole_file import read_text


class LinkSettings(Frozen):
    """How this node connects: HOST:PORT of the coordinator, the certificate it is checked against,
    and the key this node shows who it is with; paths start at the home folder."""

    address: str = Field(pattern=r"^.+:[0-9]{1,5}$")
    certificate: Path = Path("tls/ca.crt")
    key: Path = Path("link.key")


class NodeSettings(Frozen):
    """Who this node is, where its tables are and where its noise comes from.

    situation: `deployed`, or `simulated` on somebody's own machine. noise_seed: a reproducible
    source of noise, for simulated nodes alone. store: SQL URL of the ledger, which may hold a
    password; default: SQLite in the home folder. consents: for each dataset that needs it, the
    table of who agreed to what (columns key, purpose, status, time). link: where the coordinator
    is; `fedmkt node join` writes it. runs_per_hour: how many runs one requester may begin here
    within an hour.
    """

    member: Name
    situation: Literal["deployed", "simulated"] = "deployed"
    noise_seed: int | None = Field(default=None, ge=0)
    store: SecretStr | None = None
    datasets: dict[str, SourceSettings] = Field(default_factory=dict)
    consents: dict[str, SourceSettings] = Field(default_factory=dict)
    link: LinkSettings | None = None
    runs_per_hour: int = Field(default=60, ge=1, le=3600)

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
