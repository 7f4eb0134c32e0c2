"""The value report of one training, as the label owner's node measures and keeps it.

Guarantee: it holds aggregates only, never a customer's row; it is either measured in full or says
why nothing could be measured.
Not guaranteed: that its figures are true; the node that measured them stands for that.
"""

from typing import Any

from pydantic import TypeAdapter

from fedmkt.core.frozen import Frozen
from fedmkt.evaluation import metrics
from fedmkt.evaluation.value import Verdict, verdict_words
from fedmkt.evidence.figures import Amount, AucInterval, Count, Interval, Share, Text


class _Training(Frozen):
    """What a report says of its training, measured or not.

    mode, epsilon: how labels were protected; guess_accuracy: how often a partner that saw a
    randomised label guesses the true one. holdout_rows: aligned customers that were kept for
    measuring. scores_seen: the owner saw numbers of one partner's customers apart from the others':
    there was one partner, or activations were shown.
    """

    partners: tuple[Text, ...]
    mode: Text
    epsilon: Amount | None
    guess_accuracy: Share | None = None
    training_rows: Count
    holdout_rows: Count
    scores_seen: bool

    def document(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return self.model_dump(mode="json")


class UnmeasuredValue(_Training):
    """A training of which nothing could be measured, and why."""

    problem: Text


class MeasuredValue(_Training):
    """What the partners' columns add to the owner's, on the customers held out.

    lift: share of positives in the top tenth over their share among all. gain: joint AUC minus the
    owner's, paired on the same customers.
    """

    owner_auc: AucInterval
    joint_auc: AucInterval
    owner_lift: Interval
    joint_lift: Interval
    gain: Interval
    verdict: Verdict

    def words(self, who: str) -> str:
        """Return the verdict on `who` as a sentence."""
        gain = self.gain
        return verdict_words(metrics.Interval(gain.value, gain.low, gain.high), who)


ValueReport = MeasuredValue | UnmeasuredValue
_ADAPTER: TypeAdapter[ValueReport] = TypeAdapter(ValueReport)


def value_report_from(document: Any) -> ValueReport:
    """Return the report that `document` wrote. Raises: ValidationError."""
    return _ADAPTER.validate_python(document)
