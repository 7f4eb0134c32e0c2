"""What an attack's figures mean for whoever answers for privacy, a sentence each.

Guarantee: a sentence follows from the figures alone; where the interval lies on both sides of
chance, it says that nothing more than guessing was shown.
"""

from fedmkt.privacy.randomised_response import guess_accuracy
from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.scenario.attack_parts import STATED
from fedmkt.simulation.scenario.attack_pooling import poisoning_result
from fedmkt.simulation.scenario.attack_schema_poisoning import PoisoningPart
from fedmkt.simulation.scenario.attack_view import Found

LEARNT, MODEL = "AUC of labels by learning", "AUC of the model, held out"
READ, NOISE_LEFT = "correlation with an honest member's own part", "noise multiplier left"
_SURE = 0.99


def membership_words(one: AttackResult, found: Found) -> str:  # noqa: ARG001 - as all of them
    """Say how many members are found."""
    if one.figure == "AUC":
        return f"A member looks more like one than another customer in {one.value:.0%} of pairs."
    if one.figure == STATED:
        return "What the noise promises where nothing is off."
    share = f"Of 1,000 members {1000 * one.value:.0f} are found, for 10 false alarms in 1,000"
    if one.low > one.chance:
        return f"{share}: the model gives members away."
    return f"{share}: not shown to be more than guessing."


def canary_words(one: AttackResult, found: Found) -> str:
    """Say whether the audits contradict the statement."""
    stated = found.results(STATED)[0].value
    if one.figure == STATED:
        return "What the noise promises where nothing is off."
    audits = [
        each.result.value
        for seed in found.seeds
        for each in seed
        if (each.result.defence, each.result.figure) == (one.defence, one.figure)
    ]
    above = sum(value > stated for value in audits)
    if above:
        return (
            f"{above} of {len(audits)} audits show that the stated epsilon of {stated:.2f} does "
            "not hold."
        )
    return f"No audit contradicts the stated epsilon of {stated:.2f}; that is no proof of it."


def inversion_words(one: AttackResult, found: Found) -> str:  # noqa: ARG001
    """Say how much of a partner's rows is read."""
    share = f"{one.value:.0%} of a customer's values are read back from one update"
    if one.low > one.chance:
        return f"{share}: the update gives customers away."
    return f"{share}; another customer's row taken for it has {one.chance:.0%} of them."


def inspection_words(one: AttackResult, found: Found) -> str:  # noqa: ARG001
    """Say how well the distribution at a partner is read."""
    off = f"What is read of a partner is off by {100 * one.value:.0f} customers in 100"
    if one.high < one.chance:
        return f"{off}; its customers' distribution is given away{_partly(one.value > 0.01)}."
    return f"{off}: no better than knowing the average of all partners."


def collusion_words(one: AttackResult, found: Found) -> str:  # noqa: ARG001
    """Say what colluding partners learn, and whether enough noise is left."""
    if one.figure == NOISE_LEFT:
        if one.high < one.chance:
            return f"Less noise is left than the job counts on ({one.chance:.2f})."
        return f"As much noise is left as the job counts on ({one.chance:.2f})."
    if one.low > _SURE:
        return "The partner's own part lies open."
    if one.low > one.chance:
        return "The partner's own part is seen, blurred by its noise."
    return "Nothing is learnt beyond the sum of the honest partners."


def label_words(one: AttackResult, found: Found) -> str:
    """Say how well labels are told, beside what the model, whose purpose it is, tells of them."""
    if one.figure == STATED:
        best = 100 * guess_accuracy(one.value)
        return f"A label of even odds is told right {best:.0f} times in 100 at most."
    if one.figure == MODEL:
        return _model_words(one)
    pairs = f"A yes is told from a no in {one.value:.0%} of pairs"
    if one.low <= one.chance:
        return f"{pairs}: not shown to be more than guessing."
    model = [each for each in found.results(MODEL) if each.defence == one.defence]
    if model and model[0].value >= one.value:
        return f"{pairs}; the model itself does so in {model[0].value:.0%}."
    return f"{pairs}: gradients give labels away."


def column_words(one: AttackResult, found: Found) -> str:  # noqa: ARG001
    """Say how many customers' values of a partner's column are read."""
    if one.figure == MODEL:
        return _model_words(one)
    right = f"The owner has the value of {100 * one.value:.0f} customers in 100 right"
    if one.low > one.chance:
        return f"{right}: activations give the column away."
    return f"{right}: not shown to be more than always guessing the commonest value."


def poisoning_words(one: AttackResult, found: Found) -> str:
    """Say what the attack adds under a rule."""
    if one.figure != found.figures[0]:
        return ""
    added = f"The attack adds {one.value - one.chance:+.3f}"
    if not isinstance(found.attack, PoisoningPart) or len(found.seeds) < 2:
        return f"{added}."
    result = poisoning_result(found.attack, found.seeds)
    verdict = result.verdict(result.outcome(one.defence))
    held = "whether the rule holds is not told" if verdict == "not told" else f"the rule {verdict}"
    return f"{added}: {held}, by a tolerance of {result.tolerance:g}."


def _model_words(one: AttackResult) -> str:
    gain = f"{one.value - one.chance:+.3f} on what the owner's columns reach alone"
    return f"{gain}." if one.low > one.chance else f"{gain}: no gain is shown."


def _partly(partly: bool) -> str:
    return ", blurred" if partly else ""
