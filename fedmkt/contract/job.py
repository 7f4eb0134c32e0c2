"""A job: one use of data under a collaboration, as its requester states it before it runs.

Guarantee: everything that decides what leaves a node stands in the job (model, rounds, noise), so
that a node can price and judge it before data are touched.
"""

import json
import tomllib
from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from fedmkt.contract.network_settings import NetworkSettings
from fedmkt.contract.schema import Identifier, Name
from fedmkt.contract.split_job import SplitJob
from fedmkt.contract.vertical_jobs import (
    AlignmentJob,
    ExpansionJob,
    OverlapJob,
    ScoringJob,
    VerticalJob,
)
from fedmkt.core.errors import JobInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.wire.canonical import canonical_json, digest


class AdditiveSettings(Frozen):
    """The additive model: public bins a feature, rounds and penalties.

    max_bins: at most so many bins a number column. edges: where they are cut, as the declared
    schema says (`declared`) or at quantiles (`private_quantiles`), which one more release, before
    the rounds, counts on a public grid of at most grid_bins cells. ridge and smoothness: penalties
    on effects and on differences of neighbouring bins. step: share of the Newton step taken each
    round (the last value repeats); a falling schedule averages noise away.
    """

    family: Literal["additive"] = "additive"
    task: Literal["propensity"] = "propensity"
    max_bins: int = Field(default=64, ge=2, le=1024)
    edges: Literal["declared", "private_quantiles"] = "declared"
    grid_bins: int = Field(default=1024, ge=2, le=8192)
    rounds: int = Field(default=4, ge=1, le=50)
    ridge: float = Field(default=0.3, ge=1e-3, le=1e6)
    smoothness: float = Field(default=1.0, ge=0, le=1e6)
    step: tuple[Annotated[float, Field(ge=1e-3, le=1)], ...] = Field(
        default=(0.7, 0.6, 0.5, 0.4), min_length=1
    )

    @model_validator(mode="after")
    def _fine_enough(self) -> "AdditiveSettings":
        if self.grid_bins < self.max_bins:
            raise ValueError("grid_bins must be at least max_bins")
        return self

    @property
    def surveys(self) -> bool:
        """Tell whether a release of its own, before the rounds, finds the edges."""
        return self.edges == "private_quantiles"

    @property
    def releases(self) -> int:
        """Return how many releases a training makes, each with the job's noise multiplier."""
        return self.rounds + self.surveys


class PrivacySettings(Frozen):
    """What the job may cost a customer, and who adds the noise.

    trust `local`: each partner's release is private by itself; `distributed`: shares of noise add
    up inside the secure sum, sized so that the guarantee holds with up to `may_drop` partners gone
    and up to `may_collude` others (one partner knows its own share) taking their noise off;
    `none`: no noise, epsilon absent, only where the contract allows it.
    """

    trust: Literal["local", "distributed", "none"] = "local"
    epsilon: float | None = Field(default=None, ge=1e-3, le=100)
    delta: float = Field(default=1e-5, gt=0, lt=0.01)
    noise_multiplier: float | None = Field(default=None, ge=1e-3, le=1e6)
    may_drop: int = Field(default=0, ge=0)
    may_collude: int = Field(default=1, ge=1)
    count_weight: float = Field(default=0.2, ge=1e-3, le=1)

    @model_validator(mode="after")
    def _stated(self) -> "PrivacySettings":
        stated = self.epsilon is not None and self.noise_multiplier is not None
        if self.trust == "none" and (self.epsilon or self.noise_multiplier):
            raise ValueError("trust none has no epsilon and no noise_multiplier")
        if self.trust != "none" and not stated:
            raise ValueError("a private job states epsilon and noise_multiplier")
        return self


class HorizontalJob(Frozen):
    """One training over partners that hold the same columns: who asks, for what, on which dataset.

    allow_audit_features: columns of use `audit` or sensitivity `special` may be features.
    """

    schema_version: Literal[1] = 1
    kind: str
    name: Identifier
    requester: Identifier
    purpose: Identifier
    dataset: Identifier
    members: tuple[Identifier, ...] = Field(min_length=1)
    target: Name
    features: tuple[Name, ...] = Field(min_length=1)
    allow_audit_features: bool = False
    privacy: PrivacySettings

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.features)) != len(self.features) or self.target in self.features:
            raise ValueError("features must differ from each other and from the target")
        if len(set(self.members)) != len(self.members):
            raise ValueError("members must differ")
        privacy = self.privacy
        lost = privacy.may_drop + privacy.may_collude
        if privacy.trust == "distributed" and lost >= len(self.members):
            raise ValueError("privacy.may_drop and may_collude must leave an honest member")
        return self

    @property
    def updates_seen(self) -> bool:
        """Tell whether the coordinator sees every partner's update by itself."""
        return False

    def signed_bytes(self) -> bytes:
        """Return the canonical bytes of the job."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def hash(self) -> str:
        """Return the SHA-256 that stands for this job."""
        return digest(self.signed_bytes())


class Job(HorizontalJob):
    """A training of the additive model."""

    kind: Literal["horizontal"] = "horizontal"
    model: AdditiveSettings = AdditiveSettings()


class NetworkJob(HorizontalJob):
    """A training of a network."""

    kind: Literal["network"] = "network"
    model: NetworkSettings = NetworkSettings()

    @property
    def updates_seen(self) -> bool:
        """Tell whether the coordinator sees every partner's update by itself."""
        return self.model.updates_seen

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if self.privacy.trust != "none" and self.model.clip_norm is None:
            raise ValueError("a private network states model.clip_norm")
        if self.privacy.trust == "distributed" and not self.model.sums_gradients:
            # Every step within a partner is seen by its own next step, so its noise stands alone.
            raise ValueError("privacy.trust distributed needs model.algorithm fedsgd")
        joining = self.model.joining
        if len(self.members) < joining.fewest:
            needs = f"{joining.fewest} members or more for {joining.faulty} faulty ones"
            raise ValueError(f"model.joining.rule {joining.rule} needs {needs}")
        return self


AnyJob = Annotated[
    Job
    | NetworkJob
    | OverlapJob
    | AlignmentJob
    | VerticalJob
    | SplitJob
    | ScoringJob
    | ExpansionJob,
    Field(discriminator="kind"),
]
"""A job of any kind; one that names no kind is a horizontal training."""

_KINDS: Mapping[str, TypeAdapter[AnyJob]] = {
    str(kind.model_fields["kind"].default): TypeAdapter(kind)
    for kind in get_args(get_args(AnyJob)[0])
}


def parse_job(text: str, *, source: str) -> AnyJob:
    """Parse a job from TOML text. Raises: JobInvalid."""
    try:
        return _validated(tomllib.loads(text), source=source)
    except tomllib.TOMLDecodeError as error:
        raise JobInvalid(job=source, problem=f"not TOML: {error}") from None


def parse_job_json(data: bytes, *, source: str) -> AnyJob:
    """Parse a job from its canonical JSON. Raises: JobInvalid."""
    try:
        return _validated(json.loads(data), source=source)
    except ValueError:
        raise JobInvalid(job=source, problem="not JSON") from None


def _validated(value: object, *, source: str) -> AnyJob:
    if not isinstance(value, dict):
        raise JobInvalid(job=source, problem="it must be a table of keys")
    value = {"kind": "horizontal", **value}
    # By its kind, so that a problem names a key as the file has it, without a union's tag.
    kind = _KINDS.get(str(value["kind"]))
    if kind is None:
        known = " or ".join(f"'{one}'" for one in _KINDS)
        raise JobInvalid(job=source, problem=f"kind: it must be {known}")
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise JobInvalid(job=source, problem=first_problem(error)) from None
