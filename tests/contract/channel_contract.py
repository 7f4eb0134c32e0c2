"""What every Channel must do, as functions over a channel with three connected nodes.

They need no test runner, so that the same functions also run inside a ServerApp.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedmkt.core.errors import BudgetExceeded, NodesMissing
from fedmkt.transport.channel import Channel, Failure, Handler

NODES = 3
UNKNOWN_NODE = 999_999_999


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a channel is: replies come within `prompt_s`; a slow node takes `slow_s`."""

    prompt_s: float
    slow_s: float


def open_contract_handler(_config: Mapping[str, object]) -> Handler:
    """Return a handler that does what the request says."""

    def handle(request: bytes) -> bytes:
        verb, _, rest = request.partition(b":")
        if verb == b"sleep":
            time.sleep(float(rest))
        elif verb == b"refuse":
            raise BudgetExceeded(
                cap="life", dataset="d", purpose="p", requested=1.0, remaining=0.0, epsilon=1.0,
                spent_by=rest.decode(),
            )  # fmt: skip
        elif verb == b"raise":
            try:
                raise KeyError(rest.decode())
            except KeyError as error:
                raise ValueError(rest.decode()) from error
        return b"re:" + request

    return handle


def _nodes(channel: Channel, pace: Pace) -> tuple[int, ...]:
    return channel.node_ids(at_least=NODES, deadline_s=pace.prompt_s)


def all_connected_nodes_are_named_in_rising_order(channel: Channel, pace: Pace) -> None:
    nodes = _nodes(channel, pace)
    assert len(set(nodes)) == NODES
    assert list(nodes) == sorted(nodes)


def too_few_nodes_at_the_deadline_is_an_error(channel: Channel, _pace: Pace) -> None:
    raised: NodesMissing | None = None
    try:
        channel.node_ids(at_least=NODES + 1, deadline_s=0.1)
    except NodesMissing as error:
        raised = error
    assert raised is not None
    assert (raised.fields["present"], raised.fields["needed"]) == (NODES, NODES + 1)


def each_node_gets_its_own_request_and_no_other_does(channel: Channel, pace: Pace) -> None:
    requests = {node: b"echo:%d" % node for node in reversed(_nodes(channel, pace))}
    replies = channel.exchange(requests, deadline_s=pace.prompt_s)
    assert dict(replies) == {node: b"re:" + request for node, request in requests.items()}


def only_the_named_nodes_are_asked(channel: Channel, pace: Pace) -> None:
    one = _nodes(channel, pace)[1]
    assert dict(channel.exchange({one: b"x"}, deadline_s=pace.prompt_s)) == {one: b"re:x"}


def payloads_come_through_unchanged(channel: Channel, pace: Pace) -> None:
    first, second, third = _nodes(channel, pace)
    requests = {first: b"", second: bytes(range(256)), third: bytes(1_000_000)}
    replies = channel.exchange(requests, deadline_s=pace.prompt_s)
    assert dict(replies) == {node: b"re:" + request for node, request in requests.items()}


def failures_come_as_codes_beside_replies(channel: Channel, pace: Pace) -> None:
    first, second, third = _nodes(channel, pace)
    requests = {first: b"refuse:secret", second: b"raise:secret", third: b"x"}
    assert dict(channel.exchange(requests, deadline_s=pace.prompt_s)) == {
        first: Failure("budget_exceeded"),
        second: Failure("internal_error"),
        third: b"re:x",
    }


def an_unknown_node_fails_at_once_and_the_others_answer(channel: Channel, pace: Pace) -> None:
    one = _nodes(channel, pace)[0]
    replies = channel.exchange({UNKNOWN_NODE: b"x", one: b"y"}, deadline_s=pace.prompt_s)
    assert dict(replies) == {UNKNOWN_NODE: Failure("not_delivered"), one: b"re:y"}


def traffic_counts_payload_bytes_each_way(channel: Channel, pace: Pace) -> None:
    first, second, third = _nodes(channel, pace)
    before = channel.traffic
    channel.exchange({first: b"12345", second: b"raise:1", third: b""}, deadline_s=pace.prompt_s)
    after = channel.traffic
    assert after.exchanges - before.exchanges == 1
    assert after.bytes_down - before.bytes_down == len(b"12345") + len(b"raise:1")
    assert after.bytes_up - before.bytes_up == len(b"re:12345") + len(b"re:")


def a_quorum_ends_the_exchange_before_a_slow_node(channel: Channel, pace: Pace) -> None:
    first, second, third = _nodes(channel, pace)
    slow = b"sleep:%f" % pace.slow_s
    started = time.monotonic()
    replies = channel.exchange(
        {first: b"x", second: slow, third: b"y"}, deadline_s=2 * pace.slow_s, quorum=2
    )
    assert dict(replies) == {first: b"re:x", third: b"re:y"}
    assert time.monotonic() - started < pace.slow_s
    # A node handles one message at a time, so this one comes after the slow one is done.
    late = channel.exchange({second: b"z"}, deadline_s=pace.slow_s + pace.prompt_s)
    assert dict(late) == {second: b"re:z"}


def failures_do_not_count_towards_a_quorum(channel: Channel, pace: Pace) -> None:
    first, second, third = _nodes(channel, pace)
    late = b"sleep:%f" % (pace.slow_s / 4)
    replies = channel.exchange(
        {first: b"raise:", second: late, third: b"y"}, deadline_s=4 * pace.slow_s, quorum=2
    )
    assert replies[second] == b"re:" + late


def at_the_deadline_a_slow_node_is_absent_and_never_turns_up_later(
    channel: Channel, pace: Pace
) -> None:
    first, second, third = _nodes(channel, pace)
    deadline_s = pace.slow_s / 2
    started = time.monotonic()
    requests = {first: b"x", second: b"y", third: b"sleep:%f" % pace.slow_s}
    replies = channel.exchange(requests, deadline_s=deadline_s)
    waited_s = time.monotonic() - started
    assert dict(replies) == {first: b"re:x", second: b"re:y"}
    assert deadline_s <= waited_s < pace.slow_s
    again = channel.exchange({third: b"z"}, deadline_s=pace.slow_s + pace.prompt_s)
    assert dict(again) == {third: b"re:z"}


Check = Callable[[Channel, Pace], None]
CHECKS: tuple[Check, ...] = (
    all_connected_nodes_are_named_in_rising_order,
    too_few_nodes_at_the_deadline_is_an_error,
    each_node_gets_its_own_request_and_no_other_does,
    only_the_named_nodes_are_asked,
    payloads_come_through_unchanged,
    failures_come_as_codes_beside_replies,
    an_unknown_node_fails_at_once_and_the_others_answer,
    traffic_counts_payload_bytes_each_way,
    failures_do_not_count_towards_a_quorum,
    a_quorum_ends_the_exchange_before_a_slow_node,
    at_the_deadline_a_slow_node_is_absent_and_never_turns_up_later,
)
