"""What a dry run says would leave, without a line for each of many like rounds."""

from fedmkt.cli.node import _in_short


def test_rounds_in_which_the_same_leaves_are_one_line() -> None:
    leaves = ("a survey", *(f"round {n}: sums" for n in range(1, 5)), "round 5: counts")
    assert _in_short(leaves) == ["a survey", "rounds 1 to 4, each: sums", "round 5: counts"]


def test_what_leaves_once_or_otherwise_stays_as_it_is() -> None:
    leaves = ("round 1: sums and counts", "round 2: sums", "an answer", "an answer")
    assert _in_short(leaves) == list(leaves)
