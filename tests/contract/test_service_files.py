"""The files that run fedmkt as a service: what linters say, and rules that no linter knows."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fedmkt.cli.commands import app
from fedmkt.core.errors import FedmktError, FileMissing, SettingInvalid
from fedmkt.deployment.health import HEARTBEAT_FILE, HeartbeatFile, health_of
from fedmkt.deployment.service_files import (
    UID,
    Service,
    coordinator_service,
    node_service,
    service_files,
    write_service,
)
from fedmkt.storage.key_file import is_private

ROLES = ("node", "coordinator")
PORT, CONTROL_PORT = 9443, 9444
MOST_EXPOSURE = 15  # tenths: both units stand at 14, of which 5 are for having a network at all
SECRETS = ("identity.key", "link.key")
"""Files of a home whose contents no service file may hold."""


def made(role: str, folder: Path) -> Service:
    home = folder / role
    home.mkdir()
    for name in SECRETS:
        (home / name).write_text(f"secret of {name}")
    if role == "node":
        address = f"fedmkt.example.org:{PORT}"
        (home / "node.toml").write_text(f'member = "bank"\n[link]\naddress = "{address}"\n')
        return node_service(home)
    (home / "coordinator.toml").write_text(
        f'name = "hub"\nhost = "fedmkt.example.org"\nport = {PORT}\ncontrol_port = {CONTROL_PORT}\n'
    )
    return coordinator_service(home)


@pytest.fixture(params=ROLES)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Service:
    return made(request.param, tmp_path)


@pytest.fixture
def folder(service: Service, tmp_path: Path) -> Path:
    write_service(service, tmp_path / "out")
    return tmp_path / "out"


def lint(*words: str) -> tuple[bool, str]:
    """Run a linter; return whether it is content, and what it said."""
    beside = Path(sys.executable).parent / words[0]
    program = str(beside) if beside.exists() else shutil.which(words[0])
    if program is None:
        package = "Debian's systemd" if words[0] == "systemd-analyze" else "the group dev"
        pytest.fail(f"{words[0]} is not here; install {package}")
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=120)
    return done.returncode == 0, done.stdout + done.stderr


def unit_verified(file: Path) -> tuple[bool, str]:
    content, said = lint("systemd-analyze", "verify", "--man=no", str(file))
    # An unknown directive is only a warning there.
    return content and file.name not in said, said


def unit_sealed(file: Path) -> tuple[bool, str]:
    limit = f"--threshold={MOST_EXPOSURE}"
    return lint("systemd-analyze", "security", "--offline=yes", limit, str(file))


def containerfile_linted(file: Path) -> tuple[bool, str]:
    return lint("hadolint", "--no-color", "--failure-threshold", "style", str(file))


def compose_valid(file: Path) -> tuple[bool, str]:
    return lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(file))


def manifest_valid(file: Path) -> tuple[bool, str]:
    return lint("kubernetes-validate", "--strict", str(file))


LINTERS: dict[str, tuple[str, Callable[[Path], tuple[bool, str]], str, str]] = {
    "unit": ("*.service", unit_verified, "ProtectSystem=strict", "ProtectSystm=strict"),
    "exposure": ("*.service", unit_sealed, "\nSystemCallFilter=@system-service", ""),
    "containerfile": ("Containerfile", containerfile_linted, "USER ", "USER root\n# "),
    "compose": ("compose.yaml", compose_valid, "read_only: true", "read_onyl: true"),
    "manifest": ("kubernetes.yaml", manifest_valid, "runAsNonRoot", "runAsNonRoute"),
}
"""For each linter its file, and how one thing in it is spoiled."""


@pytest.mark.parametrize("name", LINTERS)
def test_a_linter_takes_the_file_and_refuses_a_spoiled_one(name: str, folder: Path) -> None:
    pattern, check, sound, spoiled = LINTERS[name]
    (file,) = folder.glob(pattern)
    content, said = check(file)
    assert content, said
    text = file.read_text()
    assert sound in text
    file.write_text(text.replace(sound, spoiled))
    content, said = check(file)
    assert not content, said


def unit_of(files: Any) -> dict[str, list[str]]:
    (text,) = (text for name, text in files.items() if name.endswith(".service"))
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def pod_of(files: Any) -> dict[str, Any]:
    documents = yaml.safe_load_all(files["kubernetes.yaml"])
    (found,) = (one for one in documents if one["kind"] == "StatefulSet")
    assert found["spec"]["replicas"] == 1
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


def test_nothing_runs_as_root_or_can_become_it(service: Service) -> None:
    files = service_files(service)
    unit = unit_of(files)
    assert unit["User"] == ["fedmkt"]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["CapabilityBoundingSet"] == [""]
    assert re.findall(r"^USER (.*)$", files["Containerfile"], re.M) == [f"{UID}:{UID}"]
    box = yaml.safe_load(files["compose.yaml"])["services"][service.role]
    assert box["user"] == f"{UID}:{UID}"
    assert box["cap_drop"] == ["ALL"]
    assert box["security_opt"] == ["no-new-privileges:true"]
    pod = pod_of(files)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == UID
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_nothing_is_writable_but_the_home_and_a_temporary_folder(service: Service) -> None:
    files, home = service_files(service), str(service.home)
    unit = unit_of(files)
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["ReadWritePaths"] == [home]
    assert unit["PrivateTmp"] == ["yes"]
    box = yaml.safe_load(files["compose.yaml"])["services"][service.role]
    assert box["read_only"] is True
    assert [one["target"] for one in box["volumes"]] == [home]
    assert [one.split(":")[0] for one in box["tmpfs"]] == ["/tmp"]
    (container,) = pod_of(files)["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert writable == {home, "/tmp"}


def test_no_file_holds_a_secret_only_where_one_lies(service: Service) -> None:
    files = service_files(service)
    unit = unit_of(files)
    assert unit["LoadCredential"] == [f"passphrase:{service.passphrase_file}"]
    assert "FEDMKT_PASSPHRASE_FILE=%d/passphrase" in unit["Environment"]
    compose = yaml.safe_load(files["compose.yaml"])
    assert compose["secrets"] == {"passphrase": {"file": str(service.passphrase_file)}}
    kinds = [one["kind"] for one in yaml.safe_load_all(files["kubernetes.yaml"])]
    assert "Secret" not in kinds
    for text in files.values():
        assert "secret of" not in text
        assert not re.search(r"FEDMKT_PASSPHRASE\b(?!_FILE)", text)


def test_no_port_is_open_but_the_one_that_partners_reach(service: Service) -> None:
    files, node = service_files(service), service.role == "node"
    unit = unit_of(files)
    assert unit["SocketBindDeny"] == ["any"]
    bound = [] if node else [f"tcp:{PORT}", f"tcp:{CONTROL_PORT}"]
    assert unit.get("SocketBindAllow", []) == bound
    exposed = re.findall(r"^EXPOSE (.*)$", files["Containerfile"], re.M)
    assert exposed == ([] if node else [str(PORT)])
    box = yaml.safe_load(files["compose.yaml"])["services"][service.role]
    assert box.get("ports", []) == ([] if node else [f"{PORT}:{PORT}"])
    assert "network_mode" not in box
    (container,) = pod_of(files)["containers"]
    assert [one["containerPort"] for one in container.get("ports", [])] == ([] if node else [PORT])
    documents = list(yaml.safe_load_all(files["kubernetes.yaml"]))
    (policy,) = (one["spec"] for one in documents if one["kind"] == "NetworkPolicy")
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    reached, reaching = (
        {port["port"] for rule in policy[way] for port in rule["ports"]}
        for way in ("ingress", "egress")
    )
    assert reached == (set() if node else {PORT})
    assert reaching == ({53, PORT} if node else set())


def test_every_container_is_asked_for_its_health(service: Service) -> None:
    files = service_files(service)
    words = ["fedmkt", "health", str(service.home)]
    assert f"CMD {json.dumps(words)}" in files["Containerfile"]
    box = yaml.safe_load(files["compose.yaml"])["services"][service.role]
    assert box["healthcheck"]["test"] == ["CMD", *words]
    (container,) = pod_of(files)["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == words


def test_a_coordinator_known_by_number_is_all_that_a_policy_lets_a_node_reach(
    tmp_path: Path,
) -> None:
    (tmp_path / "node.toml").write_text('member = "bank"\n[link]\naddress = "203.0.113.5:9443"\n')
    text = service_files(node_service(tmp_path))["kubernetes.yaml"]
    assert "cidr: 203.0.113.5/32" in text


@pytest.mark.parametrize("user", ["root; rm", "a\nb", "", "%i"])
def test_what_could_be_a_directive_of_its_own_is_refused(user: str, service: Service) -> None:
    with pytest.raises(SettingInvalid):
        node_service(made_again(service), user=user)


@pytest.mark.parametrize("name", ["two words", "a$b", 'a"b', "a%h", "a\nb"])
def test_a_home_whose_path_no_service_file_can_take_is_refused(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    home.mkdir()
    (home / "node.toml").write_text('member = "bank"\n[link]\naddress = "hub:9443"\n')
    with pytest.raises(SettingInvalid):
        node_service(home)


def made_again(service: Service) -> Path:
    (service.home / "node.toml").write_text('member = "bank"\n[link]\naddress = "hub:9443"\n')
    return service.home


def test_a_file_that_differs_is_not_written_over(service: Service, tmp_path: Path) -> None:
    write_service(service, tmp_path)
    write_service(service, tmp_path)
    own = tmp_path / "compose.yaml"
    own.write_text("# mine\n")
    with pytest.raises(SettingInvalid):
        write_service(service, tmp_path)
    assert own.read_text() == "# mine\n"


def test_the_command_writes_what_the_library_makes_and_says_what_comes_next(
    service: Service, tmp_path: Path
) -> None:
    role = "node" if (service.home / "node.toml").exists() else "coordinator"
    words = [role, "service", str(service.home), "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == service_files(service)
    assert f"fedmkt-{role}.service" in told.output
    assert "systemctl" in told.output
    for name in SECRETS:
        assert f"secret of {name}" not in "".join((told.output, *written.values()))
    (tmp_path / "out" / "compose.yaml").write_text("# mine\n")
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, SettingInvalid)


def test_no_service_is_made_of_a_home_that_is_not_joined(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('member = "bank"\n')
    told = CliRunner().invoke(app, ["node", "service", str(tmp_path), "--out", str(tmp_path)])
    assert isinstance(told.exception, SettingInvalid)
    assert [path.name for path in tmp_path.iterdir()] == ["node.toml"]


def test_a_node_is_healthy_while_it_looks_for_messages(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('member = "bank"\n')
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert not health_of(tmp_path, now=now).healthy
    beats = HeartbeatFile(tmp_path, clock=now.timestamp)
    beats.looked()
    for seconds, healthy in ((59, True), (61, False)):
        found = health_of(tmp_path, now=now + timedelta(seconds=seconds))
        assert found.healthy is healthy, found
    beats.looked(True)
    for seconds, healthy in ((61, True), (7 * 3600, False)):
        found = health_of(tmp_path, now=now + timedelta(seconds=seconds))
        assert found.healthy is healthy, found
    HeartbeatFile(tmp_path)
    assert not health_of(tmp_path, now=now).healthy  # what an earlier process left counts for none


def test_a_broken_heartbeat_is_no_health_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('member = "bank"\n')
    (tmp_path / HEARTBEAT_FILE).write_text("{")
    assert not health_of(tmp_path, now=datetime.now(UTC)).healthy
    with pytest.raises(FileMissing) as caught:
        health_of(tmp_path / "elsewhere", now=datetime.now(UTC))
    assert isinstance(caught.value, FedmktError)


def test_a_coordinator_that_never_ran_is_not_healthy(tmp_path: Path) -> None:
    (tmp_path / "coordinator.toml").write_text("")
    assert not health_of(tmp_path, now=datetime.now(UTC)).healthy


@pytest.mark.parametrize(
    ("mode", "owner", "handed", "private"),
    [
        (0o600, 1000, False, True),
        (0o440, 0, True, True),  # a credential of systemd, a secret of Kubernetes
        (0o440, 0, False, False),  # a key is handed out by nobody
        (0o440, 1000, True, False),
        (0o444, 0, True, False),
        (0o460, 0, True, False),
    ],
)
def test_a_passphrase_may_be_handed_out_by_root_alone(
    mode: int, owner: int, handed: bool, private: bool
) -> None:
    assert is_private(mode, owner=owner, reader=1000, handed=handed) is private
