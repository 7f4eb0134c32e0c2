"""A contract drafted from everybody's cards, for people to correct before anybody signs it.

Guarantee: the draft parses as it is, and its comments parse when their # is taken away. It drops no
member's terms: where two cards say different things of one dataset, there is no draft.
Not guaranteed: that its caps suit anybody. They are a place to start from.
"""

from collections.abc import Sequence
from datetime import datetime

import tomli_w
from pydantic import ValidationError

from fedmkt.contract.collaboration import Cap, Collaboration, Dataset, Member
from fedmkt.contract.membership import MemberCard
from fedmkt.core.errors import ContractInvalid
from fedmkt.core.frozen import first_problem

_EPSILON, _PERIOD_EPSILON = 8.0, 3.0
_OWN = {"holders", "uses"}
"""What may differ between the cards of a dataset's holders: it is put together."""
_HEAD = """\
# A draft. It is in force once the coordinator and all members have signed this very content.
# Read above all: uses (purpose = who may ask), modes, minimum_audience, caps and columns.
"""
_CAP = """
# Narrower caps, if you want them, on one purpose or one requester:
# [[caps]]
# dataset = {dataset}
# purpose = {purpose}
# requester = {requester}
# period_epsilon = 1.0
# uses_per_week = 2
"""
_SHARED = """
# Work over shared customers needs [datasets.vertical] (docs/guides/node_engineer.md) and, in the
# dataset's root cap, exact_scores_lifetime and alignments_lifetime.
"""


def draft_contract(
    name: str,
    coordinator: MemberCard,
    cards: Sequence[MemberCard],
    expires: datetime,
    purposes: Sequence[str] = (),
) -> str:
    """Return the draft (TOML).

    Datasets of one name are one, held by all who bring it. purposes: what datasets may be used for
    in place of what the cards say, when asked for by a holder. Raises: ContractInvalid.
    """
    datasets = _together(name, cards)
    if purposes:
        datasets = [
            one.model_copy(update={"uses": dict.fromkeys(purposes, one.holders)})
            for one in datasets
        ]
    try:
        contract = Collaboration(
            name=name,
            expires=expires,
            coordinator=Member(name=coordinator.name, key=coordinator.key),
            members=tuple(Member(name=card.name, key=card.key) for card in cards),
            datasets=tuple(Dataset.model_validate(one.model_dump()) for one in datasets),
            caps=tuple(
                Cap(dataset=one.name, period_epsilon=_PERIOD_EPSILON, lifetime_epsilon=_EPSILON)
                for one in datasets
            ),
        )
    except ValidationError as error:
        raise ContractInvalid(contract=name, problem=first_problem(error)) from None
    written = tomli_w.dumps(contract.model_dump(mode="json", exclude_none=True))
    return f"{_HEAD}{written}{_optional(contract)}{_SHARED}"


def _together(name: str, cards: Sequence[MemberCard]) -> list[Dataset]:
    datasets: dict[str, Dataset] = {}
    for card in cards:
        for one in card.datasets:
            known = datasets.setdefault(one.name, one.model_copy(update={"holders": ()}))
            # Privacy: taking one member's terms for all would loosen the others' unseen.
            if differing := _differing(known, one):
                problem = (
                    f"dataset {one.name}: {card.name}'s {differing} differs from the others'; "
                    f"agree on one datasets/{one.name}.toml"
                )
                raise ContractInvalid(contract=name, problem=problem)
            uses = {
                purpose: tuple(
                    dict.fromkeys((*known.uses.get(purpose, ()), *one.uses.get(purpose, ())))
                )
                for purpose in dict.fromkeys((*known.uses, *one.uses))
            }
            holders = (*known.holders, card.name)
            datasets[one.name] = known.model_copy(update={"holders": holders, "uses": uses})
    return list(datasets.values())


def _differing(one: Dataset, other: Dataset) -> str:
    """Return the first of two datasets' terms that is not the same, or nothing."""
    terms = (name for name in Dataset.model_fields if name not in _OWN)
    return next((name for name in terms if getattr(one, name) != getattr(other, name)), "")


def _optional(contract: Collaboration) -> str:
    lines = ""
    for one in contract.datasets:
        purpose, requesters = next(iter(one.uses.items()))
        words = {"dataset": one.name, "purpose": purpose, "requester": requesters[0]}
        # Names hold neither quotes nor backslashes.
        lines += _CAP.format(**{key: f'"{value}"' for key, value in words.items()})
    return lines
