"""What a guard is told: where it listens, what it stands before, and its limits.

Guarantee: limits are finite and stated; those that a file leaves out have the values below.
"""

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from fedmkt.core.errors import FileMissing, SettingInvalid
from fedmkt.core.frozen import Frozen, first_problem


class GuardSettings(Frozen):
    """Where the guard listens, what it stands before, and what it lets through.

    certificate, key: PEM files that partners see. superlink: HOST:PORT on loopback;
    superlink_certificates: PEM file with what its certificate is checked against.
    most_bytes_in_flight: of all requests that were not answered yet. *_each: of one address; a
    body that is larger than most_bytes_in_flight_each never passes. least_body_bytes_per_s: a body
    that comes slower than this is cut off once it is silence_s behind. handshake_s: how long TLS
    may take to begin and to end. idle_s: how long a connection may go without a whole request
    head. silence_s: how long a body or an answer may pause. request_s: how long one request may
    take in all.
    """

    host: str
    port: int = Field(ge=1, le=65535)
    certificate: Path
    key: Path
    superlink: str = Field(pattern=r"^\S+:\d{1,5}$")
    superlink_certificates: Path
    most_body_bytes: int = Field(default=256 * 2**20, ge=1)
    most_bytes_in_flight: int = Field(default=2**30, ge=1)
    most_bytes_in_flight_each: int = Field(default=2**28, ge=1)
    least_body_bytes_per_s: float = Field(default=2**14, gt=0)
    most_header_bytes: int = Field(default=16 * 2**10, ge=2**10)
    most_connections: int = Field(default=256, ge=1)
    most_connections_each: int = Field(default=64, ge=1)
    requests_per_s_each: float = Field(default=50, gt=0)
    burst_each: int = Field(default=200, ge=1)
    handshake_s: float = Field(default=5, gt=0)
    idle_s: float = Field(default=30, gt=0)
    silence_s: float = Field(default=30, gt=0)
    request_s: float = Field(default=600, gt=0)


def read_settings(path: Path) -> GuardSettings:
    """Read a guard's settings (TOML). Raises: FileMissing, SettingInvalid."""
    try:
        return GuardSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise FileMissing(what="file of settings", path=path, advice="Write it first.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise SettingInvalid(setting=str(path), problem="it is not TOML") from None
    except ValidationError as error:
        raise SettingInvalid(setting=str(path), problem=first_problem(error)) from None
