"""A node's own process, without a coordinator."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from end_to_end.small_world import small_world

from fedmkt.deployment.certificates import write_certificates
from fedmkt.deployment.link_keys import write_node_key
from fedmkt.deployment.link_processes import link_commands
from fedmkt.deployment.plan import Layout, Plan
from fedmkt.deployment.running import listens
from fedmkt.deployment.supervisor import Supervisor

START = """
import sys
from fedmkt.deployment import node_process
node_process.version = lambda _name: sys.argv[1]
node_process.main(sys.argv[2:])
"""


@pytest.mark.parametrize("flower", ["1.41.0", "1.40.0"], ids=["warm", "stock"])
def test_a_node_that_cannot_reach_its_coordinator_ends_within_5_s_of_being_asked(
    flower: str, tmp_path: Path
) -> None:
    world = small_world(tmp_path / "world")
    home = world.node(world.members[0])
    world.close()
    write_certificates(tmp_path, "127.0.0.1")
    write_node_key(tmp_path / "link.key")
    with socket.socket() as bound:  # bound and not listening: nobody answers there
        bound.bind(("127.0.0.1", 0))
        words = ["--home", str(home), "--link", f"127.0.0.1:{bound.getsockname()[1]}"]
        words += ["--certificate", str(tmp_path / "ca.crt"), "--key", str(tmp_path / "link.key")]
        node = subprocess.Popen([sys.executable, "-c", START, flower, *words])
        try:
            time.sleep(12)
            assert node.poll() is None
            asked = time.monotonic()
            node.send_signal(signal.SIGTERM)
            node.wait(20)
            assert time.monotonic() - asked < 5
        finally:
            node.kill()
            node.wait()


@pytest.mark.parametrize(
    ("family", "address", "host"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.1", "0.0.0.0"),
        (socket.AF_INET, "127.0.0.2", "127.0.0.2"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::1", "::"),
    ],
)
def test_a_process_that_listens_at_its_own_address_is_up(
    family: int, address: str, host: str
) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        port = server.getsockname()[1]
        assert not listens(host, port), "bound alone is not listening"
        server.listen()
        assert listens(host, port)
    assert not listens(host, port)


@pytest.mark.parametrize(("host", "told"), [("127.0.0.2", "127.0.0.2:9443"), ("::", "[::]:9443")])
def test_the_guard_is_looked_for_and_told_where_it_listens(
    tmp_path: Path, host: str, told: str
) -> None:
    own = tmp_path / "server.pem"
    (tmp_path / "superlink").mkdir()
    *_, guard = link_commands(
        Layout(tmp_path), control_port=9444, host=host, port=9443, certificate=own, key=own
    )
    plan = Plan(control_port=9444, fleet_port=9443, commands=(guard,))
    supervisor = Supervisor(Layout(tmp_path), plan)
    supervisor.stop()
    supervisor.run()
    status = Layout(tmp_path).read_status()
    assert status is not None
    assert [one.address for one in status.processes] == [told]
