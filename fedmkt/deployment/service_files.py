"""Files with which an engineer runs a node or a coordinator as a service.

For each role a systemd unit, a Containerfile, a compose file and a Kubernetes manifest, filled in
from the settings in its home, and constraints.txt with the versions that are installed here.

Guarantee: no secret stands in any of them, only where one lies; a service runs as a user of its
own with nothing writable but its home and a temporary folder; a node opens no port, a coordinator
the one that partners reach. Nothing that is there already and differs is written over.
Not guaranteed: that a cluster's network enforces its policies.
"""

import ipaddress
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedmkt.core.errors import SettingInvalid
from fedmkt.deployment.plan import QUIET
from fedmkt.deployment.settings import read_coordinator_settings
from fedmkt.node.settings import read_settings
from fedmkt.storage.whole_file import write_together

Role = Literal["node", "coordinator"]

UID = 10001
"""Of the user in containers. Above those that a host gives to people and services."""
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
"""What a unit hides from its service, so that a home or a program cannot lie below it."""
_PATH = re.compile(r"/[\w./+-]+")
_ADDRESS = re.compile(r"\[?([\w.:-]+?)\]?:([0-9]{1,5})")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_IMAGE = re.compile(r"[a-z0-9][\w./:@-]*")


@dataclass(frozen=True, slots=True)
class Service:
    """What the files are filled in with. All paths are absolute.

    program: the `fedmkt` that the unit runs. port: the coordinator's, as partners reach it.
    control_port: of its SuperLink, 0 at a node. cidr: the coordinator's address if a node knows it
    as a number, else "". command: words after `fedmkt`.
    """

    role: Role
    home: Path
    program: Path
    passphrase_file: Path
    user: str
    image: str
    port: int
    command: tuple[str, ...]
    control_port: int = 0
    cidr: str = ""

    @property
    def unit(self) -> str:
        """Return the unit's file name."""
        return f"fedmkt-{self.role}.service"


def node_service(
    home: Path, *, passphrase_file: Path | None = None, user: str = "fedmkt", image: str = ""
) -> Service:
    """Return the service of the node whose home this is. Raises: FileMissing, SettingInvalid."""
    link = read_settings(home / "node.toml").link
    if link is None:
        problem = "it has no [link] yet; take an invitation with fedmkt node join"
        raise SettingInvalid(setting="node.toml", problem=problem)
    found = _ADDRESS.fullmatch(link.address)
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise SettingInvalid(setting="node.toml", problem="its address is not HOST:PORT")
    home = home.resolve()
    return _checked(
        Service(
            role="node",
            home=home,
            program=_program(),
            passphrase_file=passphrase_file or Path("/etc/fedmkt/node.passphrase"),
            user=user,
            image=image or f"fedmkt-node:{version('fedmkt')}",
            port=int(found[2]),
            cidr=_cidr(found[1]),
            command=("node", "run", str(home)),
        )
    )


def coordinator_service(
    home: Path, *, passphrase_file: Path | None = None, user: str = "fedmkt", image: str = ""
) -> Service:
    """Return the service of a coordinator. Raises: FileMissing, SettingInvalid."""
    settings = read_coordinator_settings(home)
    home = home.resolve()
    # A container has none of the host's addresses, and a machine behind a load balancer does not
    # have the one that partners know.
    everywhere = "::" if ":" in settings.host else "0.0.0.0"  # noqa: S104
    return _checked(
        Service(
            role="coordinator",
            home=home,
            program=_program(),
            passphrase_file=passphrase_file or Path("/etc/fedmkt/coordinator.passphrase"),
            user=user,
            image=image or f"fedmkt-coordinator:{version('fedmkt')}",
            port=settings.port,
            control_port=settings.control_port,
            command=("coordinator", "run", str(home), "--listen", everywhere),
        )
    )


def service_files(service: Service) -> Mapping[str, str]:
    """Return the files' contents by name."""
    words = {name: getattr(service, name) for name in Service.__dataclass_fields__} | {
        "home": str(service.home),
        "passphrase_file": str(service.passphrase_file),
        "unit": service.unit,
        "name": f"fedmkt-{service.role}",
        "quiet": QUIET,
        "health": ["fedmkt", "health", str(service.home)],
        "uid": UID,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "wheel": f"fedmkt-{version('fedmkt')}-py3-none-any.whl",
    }
    templates = {
        service.unit: "unit.service.j2",
        "Containerfile": "Containerfile.j2",
        "compose.yaml": "compose.yaml.j2",
        "kubernetes.yaml": "kubernetes.yaml.j2",
    }
    environment = _environment()
    made = {
        name: environment.get_template(template).render(words)
        for name, template in templates.items()
    }
    return made | {"constraints.txt": "".join(f"{line}\n" for line in sorted(_installed()))}


def write_service(service: Service, folder: Path) -> tuple[Path, ...]:
    """Write the files into a folder; return their paths.

    Raises: SettingInvalid (another file of such a name is there), OutputUnwritable.
    """
    files = {folder / name: text.encode() for name, text in service_files(service).items()}
    for path, data in files.items():
        if path.exists() and (not path.is_file() or path.read_bytes() != data):
            problem = "a file of this name is there and differs; name another folder, or move it"
            raise SettingInvalid(setting=str(path), problem=problem)
    write_together(files)
    return tuple(files)


def hidden_from_unit(service: Service) -> tuple[Path, ...]:
    """Return which of home and program the unit would hide from its own service."""
    return tuple(
        path
        for path in (service.home, service.program)
        if any(path.is_relative_to(folder) for folder in HIDDEN)
    )


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fedmkt.deployment", "services"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # What is filled in was checked by `_checked`; none of these files is a web page.
        autoescape=False,  # noqa: S701
    )


def _program() -> Path:
    return Path(sys.executable).absolute().parent / "fedmkt"


def _installed() -> Iterator[str]:
    """Yield NAME==VERSION of all that is installed, without local versions, which no index has."""
    for one in distributions():
        name = one.metadata["Name"]
        if name and name != "fedmkt" and "+" not in one.version:
            yield f"{name}=={one.version}"


def _cidr(host: str) -> str:
    try:
        return str(ipaddress.ip_network(host))
    except ValueError:
        return ""


def _checked(service: Service) -> Service:
    """Return a service if nothing in it could be read as more than a word in any of the files."""
    # Security: a line end, quote, $ or % would be a directive of its own somewhere.
    for what, path in (
        ("the home's path", service.home),
        ("the program's path", service.program),
        ("--passphrase-file", service.passphrase_file),
    ):
        if not _PATH.fullmatch(str(path)):
            problem = "service files take absolute paths of letters, digits and . _ + - alone"
            raise SettingInvalid(setting=f"{what} ({path})", problem=problem)
    if not _USER.fullmatch(service.user):
        raise SettingInvalid(setting="--user", problem="it is no name of a system user")
    if not _IMAGE.fullmatch(service.image):
        raise SettingInvalid(setting="--image", problem="it is no name of an image")
    return service
