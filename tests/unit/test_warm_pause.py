"""How long a node waits between looks for a message."""

import pytest

from fedmkt.transport.warm_runner import pause_s


def test_after_a_message_a_node_looks_again_at_once():
    assert pause_s(0.0, 0.001, 0.001) == pytest.approx(0.03)


def test_without_messages_a_node_looks_ever_more_seldom_up_to_once_a_second():
    pauses = [pause_s(idle, 0.001, 0.001) for idle in (0.1, 2.0, 10.0, 20.0, 1e4)]
    assert pauses == pytest.approx([0.03, 0.1, 0.5, 1.0, 1.0])


def test_where_looks_take_longer_than_at_best_many_nodes_together_leave_half_of_the_time_free():
    # A server that takes one request after the other, 10 ms each; all nodes look at once.
    nodes, quickest = 50, 0.01
    waited = nodes * quickest
    assert nodes * quickest <= (waited + pause_s(0.0, waited, quickest)) / 2


def test_a_link_that_is_slow_by_itself_is_no_crowd():
    assert pause_s(0.0, 0.2, 0.2) == pytest.approx(2 * 0.2)
