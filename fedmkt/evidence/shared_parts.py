"""The parts of a report about customers that members share: who was found, and what it was worth.

Guarantee: as for the report they are parts of: aggregates only, never a customer's row. What one
member alone knows (its duplicates, who opted out) stands here because a simulation may show it; no
run tells it to anybody.
"""

from typing import Literal

from pydantic import Field, model_validator

from fedmkt.core.frozen import Frozen
from fedmkt.evaluation.value import Verdict
from fedmkt.evidence.figures import Amount, AucInterval, Count, Interval, Share, Text


class OverlapShown(Frozen):
    """What an overlap job told: how many customers two members share, with noise.

    overlap: null where it is under the agreed minimum. noise: its standard deviation, in customers.
    """

    run: Text
    members: tuple[Text, ...] = Field(min_length=2, max_length=2)
    key: Text
    overlap: Count | None
    minimum: Count
    noise: Amount


class Alignment(Frozen):
    """One alignment. sizes, intersection, match_rate: as stated to others, with their noise.

    duplicates, opted_out: each member's own count, read at its node; it told nobody else.
    noise: standard deviation of the noise in a size, in customers; 0 where sizes are exact.
    """

    run: Text
    members: tuple[Text, ...] = Field(min_length=2)
    keys: tuple[Text, ...] = Field(min_length=1)
    sizes: dict[Text, Count]
    intersection: Count
    match_rate: dict[Text, Share]
    duplicates: dict[Text, Count]
    opted_out: dict[Text, Count]
    noise: Amount
    exchanges: Count
    bytes_up: Count
    bytes_down: Count
    wall_s: Amount

    @model_validator(mode="after")
    def _of_its_members(self) -> "Alignment":
        named = (self.sizes, self.match_rate, self.duplicates, self.opted_out)
        if any(set(one) != set(self.members) for one in named):
            raise ValueError("an alignment states one figure for each of its members")
        return self


class PartnerValue(Frozen):
    """What one partner's columns add to the owner's, by a training of the two.

    auc: of a model on the partner's columns alone, trained in one place for comparison. lift: the
    same model's, in its top tenth. joint_auc: of owner and partner together.
    """

    name: Text
    auc: Share
    lift: Interval
    joint_auc: Share
    gain: Interval
    verdict: Verdict
    words: Text
    run: Text


class Value(Frozen):
    """What all partners' columns add to the label owner's, measured on customers held out.

    run: the joint training. gain: joint AUC minus the owner's, paired on the same customers. lift:
    share of positives in the top tenth over their share among all. holdout: number of customers
    held out. scores_seen: the joint training had one partner, whose scores the owner saw.
    """

    owner: Text
    run: Text
    owner_auc: Share
    joint_auc: Share
    owner_lift: Interval
    joint_lift: Interval
    gain: Interval
    verdict: Verdict
    words: Text
    mode: Text
    label_epsilon: Amount | None
    holdout: Count
    scores_seen: bool
    partners: tuple[PartnerValue, ...]


class ColumnInference(Frozen):
    """A measured attack: the owner guesses a partner's column from the totals it was shown.

    run: the training whose totals; with one partner they are that partner's scores. known:
    customers whose column the attacker knew beforehand. majority: always guessing the commonest
    value.
    """

    run: Text
    partner: Text
    column: Text
    known: Count
    accuracy: Share
    majority: Share


class Student(Frozen):
    """An audience expansion: a partner's own model of the joint score.

    seed: aligned customers it was learnt from, with noise. auc: on public rows, against the label.
    joint_auc: of the joint model on the same rows. recall: share of positives found when reaching
    so many percent. ranked: own customers beyond the overlap that were put into size bins.
    """

    partner: Text
    run: Text
    seed: Count
    epsilon: Amount
    auc: AucInterval
    joint_auc: AucInterval
    recall: dict[Literal["5", "10", "20"], Share]
    ranked: Count


class Explained(Frozen):
    """Why one made customer scores as it does, in the words of the schema, largest part first.

    total: what this member's columns add to the score, in log-odds.
    """

    member: Text
    reasons: tuple[Text, ...]
    total: float


class RunCost(Frozen):
    """What one run took. seconds: of each kind of step; the rest of wall_s is closing."""

    run: Text
    kind: Text
    members: tuple[Text, ...] = Field(min_length=1)
    exchanges: Count
    bytes_up: Count
    bytes_down: Count
    wall_s: Amount
    seconds: dict[Text, Amount]
