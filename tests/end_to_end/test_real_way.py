"""The real way, by commands alone: homes of their own, processes of their own, one signed run."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import tomli_w

from fedmkt.contract.collaboration import Dataset
from fedmkt.contract.job import Job
from fedmkt.data import bundled
from fedmkt.node.home import open_home
from fedmkt.simulation.demo_plan import ARMS, PURPOSE, job_for
from fedmkt.storage.contract_files import write_job

MEMBERS = ("bank", "map_provider", "retailer")
ROWS = 3000
PASSPHRASE = "a passphrase for this test alone"


class People:
    """Everybody's terminals, in one folder a person."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        secret = folder / "passphrase"
        secret.write_text(PASSPHRASE)
        secret.chmod(0o600)
        self.environment = {
            **os.environ,
            "FEDMKT_PASSPHRASE_FILE": str(secret),
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).parent / "fedmkt"), *words]

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def start(self, *words: str) -> None:
        """Start a command that runs until it is ended."""
        log = self.folder / f"{'-'.join(words[:2])}-{len(self.processes)}.log"
        with log.open("wb") as file:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "fedmkt.deployment.child", *self.command(*words)],
                    cwd=self.folder, env=self.environment,
                    stdin=subprocess.PIPE,  # the lifeline: it closes when this process ends
                    stdout=file, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip

    def logs(self) -> str:
        files = [*self.folder.glob("*.log"), *self.folder.glob("hub/logs/*.log")]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in files)

    def end(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(30)
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    made = People(tmp_path)
    yield made
    made.end()


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def agreed_dataset(member: str) -> Dataset:
    return Dataset(
        name="prospects",
        population="customers",
        holders=(member,),
        uses={PURPOSE: ("bank",)},
        quality_floor=0.5,
        table=bundled.schema("adult"),
    )


def set_up(people: People) -> None:
    """Everybody's steps up to a joined, checked node, in the guide's order."""
    port, control = map(str, free_ports())
    hub = ("--host", "localhost", "--port", port, "--control-port", control)
    people.run("coordinator", "init", "hub", *hub)
    table = bundled.load("adult_train")
    for number, member in enumerate(MEMBERS):
        people.run("node", "init", member, "--member", member)
        table.slice(number * ROWS, ROWS).write_csv(people.folder / f"{member}.csv")
        people.run("node", "import", member, f"{member}.csv", "--key", table.columns[0])
        draft = people.folder / member / "datasets" / "prospects.toml"
        assert tomllib.loads(draft.read_text())["name"] == "prospects"
        # What the members agreed on takes the place of what was guessed.
        value = agreed_dataset(member).model_dump(mode="json", exclude_none=True)
        draft.write_text(tomli_w.dumps(value))
        # "?" is a category of Adult's, which the guess took for a missing value.
        settings = people.folder / member / "node.toml"
        settings.write_text(settings.read_text().replace('null_values = ["?"]\n', ""))
        people.run("node", "card", member)
    cards = [word for member in MEMBERS for word in ("--member", f"{member}/member.json")]
    people.run("contract", "draft", "--coordinator", "hub/member.json", *cards)
    for home in ("hub", *MEMBERS):
        people.run("contract", "sign", "collaboration.toml", "--home", home, "--yes")
    people.run("contract", "verify", "collaboration.toml")
    people.run("coordinator", "adopt", "hub", "collaboration.toml")
    for member in MEMBERS:
        people.run("coordinator", "admit", "hub", f"{member}/member.json")
        people.run("coordinator", "invite", "hub", member)
        people.run("node", "join", member, f"{member}.invitation.json")


def wait_healthy(people: People) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        status = subprocess.run(
            people.command("up", "--status", "hub"), cwd=people.folder,
            env=people.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        if status.returncode == 0:
            return
        time.sleep(0.5)
    raise AssertionError(status.stdout + people.logs())


def listened_at(people: People) -> set[str]:
    """Return the addresses at which the coordinator's processes and the nodes listen."""
    own = [psutil.Process(one.pid) for one in people.processes]
    everybody = [each for one in own for each in (one, *one.children(recursive=True))]
    return {
        connection.laddr.ip
        for process in everybody
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_three_partners_join_by_commands_and_train(people: People) -> None:
    set_up(people)
    told = people.run("node", "check", "bank", code=1)
    assert "fail reachability" in told
    # Partners know it by a name; it listens on one address.
    people.start("coordinator", "run", "hub", "--listen", "127.0.0.1")
    for member in MEMBERS:
        people.start("node", "run", member)
    wait_healthy(people)
    assert listened_at(people) == {"127.0.0.1"}
    told = people.run("node", "check", "bank")
    assert re.search(r"ok\s+clock: within 3 s", told), told
    assert re.search(r"ok\s+certificate: TLSv1\.3", told)
    assert re.search(r"ok\s+clock", told), told
    assert "ready" in told

    job: Job = job_for(ARMS[-1], name="first").model_copy(update={"dataset": "prospects"})
    write_job(people.folder / "first.toml", job)
    people.run("job", "sign", "first.toml", "--home", "bank", "--run", "spring")
    told = people.run("job", "submit", "spring.order.json", "--follow", "--home", "hub")
    assert "run spring: finished" in told, told + people.logs()
    assert "spring" in people.run("job", "list", "--home", "hub")
    people.end()
    people.processes.clear()
    for member in MEMBERS:
        os.environ["FEDMKT_PASSPHRASE_FILE"] = people.environment["FEDMKT_PASSPHRASE_FILE"]
        home = open_home(people.folder / member)
        with home.store.transaction() as tx:
            states = [entry.state for entry in home.ledger.entries(tx, "spring")]
        home.close()
        assert states == ["spent", "spent"]
    # No customer's value, no passphrase and no private key is in any log.
    logs = people.logs()
    assert PASSPHRASE not in logs
    for row in bundled.load("adult_train").slice(0, 20).iter_rows():
        assert ",".join(map(str, row)) not in logs
