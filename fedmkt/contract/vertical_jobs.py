"""Jobs over customers that members share: overlap, alignment, training, scoring, expansion.

Guarantee: as for every job, everything that decides what leaves a node stands in it, so that a node
can price and judge it before data are touched. Each member uses a dataset of its own.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedmkt.contract.collaboration import LabelMode
from fedmkt.contract.schema import Identifier, Name
from fedmkt.core.frozen import Frozen
from fedmkt.wire.canonical import canonical_json, digest

MOST_PARTIES = 8
Multiplier = Annotated[float, Field(ge=1e-3, le=1e6)]
Epsilon = Annotated[float, Field(ge=1e-3, le=100)]
Delta = Annotated[float, Field(gt=0, lt=0.01)]
SMALLEST = 1e-3
"""The least limit, penalty or share of a step; below it rounding would decide."""
NOISED_KEYS = 2
"""With how many key columns it is known by how much one customer can move each noised size."""


class Party(Frozen):
    """A member of the job and the dataset it uses. features: its columns in a model."""

    member: Identifier
    dataset: Identifier
    features: tuple[Name, ...] = ()


class CountPrivacy(Frozen):
    """What the noised sizes of a job may cost a customer, all of them together, at one member."""

    epsilon: Epsilon
    delta: Delta = 1e-5
    noise_multiplier: Multiplier


class LabelPrivacy(Frozen):
    """How labels are protected, and what a training may cost the label of an aligned customer.

    `encrypted`: noised sums by protected inner products. `encrypted_without_noise`: the same with
    no noise, so no epsilon. `label_private`: labels randomised once, epsilon for that one release.
    `shared_labels`: residuals are shown to partners; no epsilon.
    """

    mode: LabelMode = "encrypted"
    epsilon: Epsilon | None = None
    delta: Delta = 1e-5
    noise_multiplier: Multiplier | None = None

    @model_validator(mode="after")
    def _stated(self) -> "LabelPrivacy":
        wants = (
            self.mode in ("encrypted", "label_private"),
            self.mode == "encrypted",
        )
        if (self.epsilon is not None, self.noise_multiplier is not None) != wants:
            raise ValueError(
                "mode encrypted states epsilon and noise_multiplier, label_private states "
                "epsilon, the other modes neither"
            )
        return self


class VerticalSettings(Frozen):
    """The additive model over several members' columns.

    rounds, ridge, smoothness, step, max_bins: as in a horizontal training. levels and limit: a
    feature moves a shown score in so many even steps between -limit and limit (log-odds). holdout:
    share of the aligned customers, the last in their random order, that is kept for measuring.
    family, task: one of each so far; they stand in what is signed, so that a second kind of model
    will be another job, not another reading of the same one.
    """

    family: Literal["additive"] = "additive"
    task: Literal["propensity"] = "propensity"
    max_bins: int = Field(default=64, ge=2, le=1024)
    rounds: int = Field(default=8, ge=1, le=15)
    ridge: float = Field(default=0.3, ge=SMALLEST, le=1e6)
    smoothness: float = Field(default=1.0, ge=0, le=1e6)
    step: tuple[Annotated[float, Field(ge=SMALLEST, le=1)], ...] = Field(
        default=(0.7,), min_length=1
    )
    levels: int = Field(default=33, ge=3, le=2**20 + 1)
    limit: float = Field(default=4.0, ge=SMALLEST, le=16)
    holdout: float = Field(default=0.25, ge=0, le=0.5)


class SharedJob(Frozen):
    """What all jobs over shared customers state. parties: in the order the protocol takes them."""

    schema_version: Literal[1] = 1
    kind: str
    name: Identifier
    requester: Identifier
    purpose: Identifier
    parties: tuple[Party, ...] = Field(min_length=2, max_length=MOST_PARTIES)

    @model_validator(mode="after")
    def _distinct_members(self) -> "SharedJob":
        if len(set(self.members)) != len(self.members):
            raise ValueError("members must differ")
        return self

    @property
    def members(self) -> tuple[str, ...]:
        """Return the members, in the order of the parties."""
        return tuple(party.member for party in self.parties)

    def party(self, member: str) -> Party | None:
        """Return the party of `member`, or None."""
        return next((party for party in self.parties if party.member == member), None)

    def signed_bytes(self) -> bytes:
        """Return the canonical bytes of the job."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def hash(self) -> str:
        """Return the SHA-256 that stands for this job."""
        return digest(self.signed_bytes())


class OverlapJob(SharedJob):
    """How many customers two members share, by one key: a noised number and nothing else.

    The first party counts.
    """

    kind: Literal["overlap"] = "overlap"
    key: Identifier
    privacy: CountPrivacy

    @model_validator(mode="after")
    def _two(self) -> "OverlapJob":
        if len(self.parties) != 2:
            raise ValueError("an overlap is counted between two members; ask once a pair")
        return self


class AlignmentJob(SharedJob):
    """Finds the customers that all members share. keys: identifiers, the most trusted first.

    The first party compares. exact_sizes: state sizes without noise, where every contract term
    allows it; privacy is then absent.
    """

    kind: Literal["alignment"] = "alignment"
    keys: tuple[Identifier, ...] = Field(min_length=1, max_length=8)
    exact_sizes: bool = False
    privacy: CountPrivacy | None = None

    @model_validator(mode="after")
    def _stated(self) -> "AlignmentJob":
        if len(set(self.keys)) != len(self.keys):
            raise ValueError("keys must differ")
        if (self.privacy is None) != self.exact_sizes:
            raise ValueError("sizes are exact, or privacy says how they are noised")
        if self.privacy is not None and len(self.keys) > NOISED_KEYS:
            # Privacy: with more, nobody has shown by how much one customer can move a size.
            raise ValueError(
                f"noise hides one customer with {NOISED_KEYS} keys at most; take the most trusted, "
                "or exact_sizes where the contract allows them"
            )
        return self


class OwnedJob(SharedJob):
    """A job over an alignment, in which one member owns the labels.

    alignment: the run that aligned the customers. owner: the label owner, the first party.
    """

    alignment: Identifier
    owner: Identifier

    @model_validator(mode="after")
    def _owner_first(self) -> "OwnedJob":
        if self.members[0] != self.owner:
            raise ValueError("the owner is the first party")
        return self

    @property
    def partners(self) -> tuple[str, ...]:
        """Return the members other than the label owner."""
        return self.members[1:]


class LabelledJob(OwnedJob):
    """A training over aligned customers: the owner's labels, everybody's columns.

    allow_audit_features: as in a horizontal job.
    """

    target: Name
    allow_audit_features: bool = False

    @model_validator(mode="after")
    def _features(self) -> Self:
        if any(not party.features for party in self.parties[1:]):
            raise ValueError("every partner needs features")
        for party in self.parties:
            if len(set(party.features)) != len(party.features):
                raise ValueError(f"features of {party.member} must differ")
        if self.target in self.parties[0].features:
            raise ValueError("the target cannot be a feature")
        return self


class VerticalJob(LabelledJob):
    """One training over the columns of several members.

    restart: a partner that is lost is left out and the training starts again, charged anew, as
    long as two partners are left.
    """

    kind: Literal["vertical"] = "vertical"
    restart: bool = False
    model: VerticalSettings = VerticalSettings()
    labels: LabelPrivacy

    @property
    def features(self) -> int:
        """Return the number of features of all parties together."""
        return sum(len(party.features) for party in self.parties)

    def without(self, lost: tuple[str, ...]) -> "VerticalJob":
        """Return the job with the parties in `lost` left out."""
        parties = tuple(party for party in self.parties if party.member not in lost)
        return self.model_copy(update={"parties": parties})


class ScoringJob(OwnedJob):
    """Scores all aligned customers with a trained model; the owner receives totals.

    model: the run that trained it. parts: each partner's part is shown beside the total.
    """

    kind: Literal["scoring"] = "scoring"
    model: Identifier
    parts: bool = False


class ExpansionJob(OwnedJob):
    """Teaches one partner a student of the joint model over its own columns alone.

    Its target is the joint score, clipped to `clip` (log-odds) around the prevalence's; what the
    partner receives are noised sums of it, once. privacy: what that costs an aligned customer whose
    joint score changes in any way.
    """

    kind: Literal["expansion"] = "expansion"
    model: Identifier
    clip: float = Field(default=3.0, ge=SMALLEST, le=16)
    ridge: float = Field(default=1.0, ge=SMALLEST, le=1e6)
    smoothness: float = Field(default=1.0, ge=0, le=1e6)
    max_bins: int = Field(default=32, ge=2, le=1024)
    privacy: CountPrivacy

    @model_validator(mode="after")
    def _one_partner(self) -> "ExpansionJob":
        if len(self.parties) != 2 or not self.parties[1].features:
            raise ValueError("an expansion has the owner and one partner with features")
        return self
