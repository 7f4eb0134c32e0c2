"""Masked sums of scores: exact totals, what each member can and cannot open, and tampering."""

import secrets

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fedmkt.core.errors import MessageInvalid, RangeExceeded
from fedmkt.security.score_sum import ScoreContext, add_masked, mask_scores, unmask_total
from fedmkt.security.secure_sum.masks import public_key

OWNER = "owner"
CONTEXT = ScoreContext(run="run-1", round=2, keys=b"k" * 32)
LARGEST = 2**31 - 1


class Members:
    """An owner and its partners with their keys of one run."""

    def __init__(self, partners):
        names = [f"p{place}" for place in range(partners)]
        self.secrets = {name: secrets.token_bytes(32) for name in [*names, OWNER]}
        self.publics = {name: public_key(secret) for name, secret in self.secrets.items()}
        self.partners = {name: self.publics[name] for name in names}

    def mask(self, name, values, *, context=CONTEXT, partners=None, owner=None):
        return mask_scores(
            np.array(values, dtype=np.int64),
            member=name,
            secret=self.secrets[name],
            partners=partners or self.partners,
            owner=(OWNER, owner or self.publics[OWNER]),
            context=context,
        )

    def unmask(self, total, *, context=CONTEXT, secret=None, partners=None):
        return unmask_total(
            total,
            owner=OWNER,
            secret=secret or self.secrets[OWNER],
            partners=partners or self.partners,
            context=context,
        )


def scores_of(partners, rows=200):
    draw = np.random.default_rng(3)
    return {f"p{place}": draw.integers(-1000, 1001, rows) for place in range(partners)}


def total_of(scores):
    return np.sum(list(scores.values()), axis=0).tolist()


@st.composite
def signed_scores(draw):
    partners, rows = draw(st.integers(1, 7)), draw(st.integers(0, 6))
    most = LARGEST // partners
    score = st.one_of(st.integers(-most, most), st.sampled_from([-most, 0, most]))
    return draw(
        st.lists(
            st.lists(score, min_size=rows, max_size=rows), min_size=partners, max_size=partners
        )
    )


@settings(deadline=None, max_examples=40)
@given(signed_scores(), st.integers(0, 10**6), st.text(max_size=8))
def test_the_total_comes_back_exactly(drawn, round_number, run):
    members = Members(len(drawn))
    context = ScoreContext(run, round_number, bytes(32))
    masked = [members.mask(f"p{p}", row, context=context) for p, row in enumerate(drawn)]
    total = members.unmask(add_masked(masked), context=context)
    assert total.dtype == np.int64
    assert total.tolist() == [sum(column) for column in zip(*drawn, strict=True)]


def test_scores_whose_sum_could_wrap_are_refused_on_either_side():
    for partners in (1, 2, 3):
        members, most = Members(partners), LARGEST // partners
        members.mask("p0", [most, -most])
        for score in (most + 1, -most - 1, 2**62, -(2**63)):
            with pytest.raises(RangeExceeded):
                members.mask("p0", [0, score])


def test_masking_leaves_the_scores_as_they_were():
    values = np.arange(5)
    Members(2).mask("p0", values)
    assert values.tolist() == [0, 1, 2, 3, 4]


def test_the_total_needs_every_partner():
    members, scores = Members(3), scores_of(3)
    masked = [members.mask(name, scores[name]) for name in ("p0", "p1")]
    opened = members.unmask(add_masked(masked))
    assert matches(opened, scores["p0"] + scores["p1"]) == 0


@pytest.mark.parametrize(
    "vectors",
    [
        [],
        [np.zeros(3, np.uint32), np.zeros(2, np.uint32)],
        [np.zeros(3, np.uint32), np.zeros(1, np.uint32)],
        [np.zeros(3, np.uint32), np.zeros(3, np.uint64)],
        [np.zeros((3, 1), np.uint32)],
    ],
    ids=["none", "lengths", "one for all", "types", "shape"],
)
def test_vectors_that_do_not_fit_together_are_refused(vectors):
    with pytest.raises(MessageInvalid):
        add_masked(vectors)


def test_a_public_key_whose_result_everybody_knows_is_refused():
    members, known = Members(2), bytes(32)
    with pytest.raises(MessageInvalid):
        members.mask("p0", [1], partners={**members.partners, "p1": known})
    with pytest.raises(MessageInvalid):
        members.mask("p0", [1], owner=known)
    with pytest.raises(MessageInvalid):
        members.unmask(np.zeros(1, np.uint32), partners={"p0": known})


# --- what is hidden ---------------------------------------------------------------------------


def matches(found, expected):
    """How many rows agree; of 200 random 32-bit words one does with probability 5e-8."""
    return int((np.asarray(found) == np.asarray(expected)).sum())


def test_masked_scores_have_no_visible_bias():
    # 20,000 zeros from each of two partners: 32 fair coins a row.
    members = Members(2)
    for name in members.partners:
        masked = members.mask(name, np.zeros(20_000))
        ones = int(np.unpackbits(masked.view(np.uint8)).sum())
        assert binomtest(ones, 640_000).pvalue > 1e-6
        assert len(np.unique(masked)) > 19_900  # 2^-32 * 20,000^2 / 2 = 0.05 repeats expected


def test_the_total_is_hidden_from_who_adds_it_up():
    members, scores = Members(2), scores_of(2)
    total = add_masked([members.mask(name, values) for name, values in scores.items()])
    assert matches(total.view(np.int32), total_of(scores)) == 0
    # Nor does another member's secret open it.
    stranger = members.unmask(total, secret=secrets.token_bytes(32))
    partner = members.unmask(total, secret=members.secrets["p0"])
    assert matches(stranger, total_of(scores)) == matches(partner, total_of(scores)) == 0
    assert members.unmask(total).tolist() == total_of(scores)


def opened_alone(members, scores):
    """The owner takes the one mask it knows off the vector of p0."""
    vector = members.mask("p0", scores["p0"])
    return members.unmask(vector, partners={"p0": members.publics["p0"]})


def test_the_owner_cannot_open_one_of_two_partners_vectors():
    scores = scores_of(2)
    assert matches(opened_alone(Members(2), scores), scores["p0"]) == 0


def test_the_owner_opens_the_vector_of_an_only_partner():
    # The documented limit: with one partner its scores are the total.
    scores = scores_of(1)
    assert opened_alone(Members(1), scores).tolist() == scores["p0"].tolist()


def test_without_the_masks_between_partners_the_owner_would_open_each_vector():
    # What a partner would send that counts itself alone.
    members, scores = Members(2), scores_of(2)
    alone = {"p0": members.publics["p0"]}
    vector = members.mask("p0", scores["p0"], partners=alone)
    assert members.unmask(vector, partners=alone).tolist() == scores["p0"].tolist()


@pytest.mark.parametrize(
    "other",
    [
        ScoreContext("run-2", 2, b"k" * 32),
        ScoreContext("run-1", 3, b"k" * 32),
        ScoreContext("run-1", 2, b"l" * 32),
    ],
    ids=["run", "round", "keys"],
)
def test_masks_of_another_run_round_or_set_of_keys_are_others(other):
    members, zeros = Members(2), np.zeros(200)
    masked = [members.mask("p0", zeros, context=context) for context in (CONTEXT, other)]
    assert matches(*masked) == 0
    scores = scores_of(2)
    total = add_masked([members.mask(name, values) for name, values in scores.items()])
    assert matches(members.unmask(total, context=other), total_of(scores)) == 0


def test_a_member_in_another_round_spoils_the_total():
    members, scores = Members(2), scores_of(2)
    later = ScoreContext("run-1", 3, b"k" * 32)
    masked = [
        members.mask("p0", scores["p0"]),
        members.mask("p1", scores["p1"], context=later),
    ]
    assert matches(members.unmask(add_masked(masked)), total_of(scores)) == 0


@pytest.mark.parametrize("swapped", ["p1", OWNER])
def test_a_swapped_public_key_gives_no_total(swapped):
    members, scores = Members(2), scores_of(2)
    false = public_key(secrets.token_bytes(32))
    keys = {"owner": false} if swapped == OWNER else {"partners": {**members.partners, "p1": false}}
    masked = [members.mask("p0", scores["p0"], **keys), members.mask("p1", scores["p1"])]
    assert matches(members.unmask(add_masked(masked)), total_of(scores)) == 0


def test_a_swapped_key_at_the_owner_gives_no_total():
    members, scores = Members(2), scores_of(2)
    total = add_masked([members.mask(name, values) for name, values in scores.items()])
    false = {**members.partners, "p0": public_key(secrets.token_bytes(32))}
    assert matches(members.unmask(total, partners=false), total_of(scores)) == 0


def test_masks_do_not_depend_on_the_order_members_are_named_in():
    members, scores = Members(3), scores_of(3)
    turned = dict(reversed(members.partners.items()))
    assert np.array_equal(
        members.mask("p1", scores["p1"]), members.mask("p1", scores["p1"], partners=turned)
    )
