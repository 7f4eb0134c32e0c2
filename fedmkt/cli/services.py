"""`fedmkt node service` and `fedmkt coordinator service`: for whoever lets a machine run them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from fedmkt.deployment import service_files

Home = Annotated[Path, typer.Argument(metavar="HOME", help="The home folder.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="The folder to write them into.")]
User = Annotated[str, typer.Option(help="The system user that the systemd unit runs as.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        help="Where the passphrase will lie. Default: /etc/fedmkt/ROLE.passphrase.",
        show_default=False,
    ),
]
Image = Annotated[
    str, typer.Option(help="The image's name. Default: fedmkt-ROLE:VERSION.", show_default=False)
]


def make_node_service(
    home: Home,
    out: Out,
    user: User = "fedmkt",
    passphrase_file: PassphraseFile = None,
    image: Image = "",
) -> None:
    """Write the files that run this node as a service: systemd, container, compose, Kubernetes.

    They hold no secret, open no port, and let nothing be written but the home.
    Example: fedmkt node service /srv/fedmkt/bank --out service
    """
    from fedmkt.deployment import service_files

    made = service_files.node_service(home, passphrase_file=passphrase_file, user=user, image=image)
    _say(made, service_files.write_service(made, out))


def make_coordinator_service(
    home: Home,
    out: Out,
    user: User = "fedmkt",
    passphrase_file: PassphraseFile = None,
    image: Image = "",
) -> None:
    """Write the files that run this coordinator as a service: systemd, container, Kubernetes.

    They hold no secret and open one port, the one that partners reach.
    Example: fedmkt coordinator service /srv/fedmkt/hub --out service
    """
    from fedmkt.deployment import service_files

    made = service_files.coordinator_service(
        home, passphrase_file=passphrase_file, user=user, image=image
    )
    _say(made, service_files.write_service(made, out))


def _say(made: "service_files.Service", written: tuple[Path, ...]) -> None:
    from fedmkt.deployment.service_files import UID, hidden_from_unit

    console = Console(highlight=False, soft_wrap=True, markup=False)
    for path in written:
        console.print(f"wrote {path}")
    folder, secret = written[0].parent, made.passphrase_file
    for path in hidden_from_unit(made):
        console.print(f"move it first: the unit would not see {path}; take /srv, /opt or /var/lib")
    kube = f"kubectl create secret generic fedmkt-{made.role} --from-file=passphrase={secret}"
    for title, lines in (
        (
            "systemd, as root",
            (
                f"useradd --system --no-create-home --shell /usr/sbin/nologin {made.user}",
                f"chown -R {made.user}: {made.home}",
                f"install -D -m 600 /dev/stdin {secret}   # type the passphrase, end with Ctrl-D",
                f"install -m 644 {folder / made.unit} /etc/systemd/system/",
                f"systemctl enable --now {made.unit}",
            ),
        ),
        (
            "containers",
            (
                f"python -m pip wheel --no-deps --wheel-dir {folder / 'wheels'} PATH_OF_THE_CLONE",
                f"chown -R {UID}:{UID} {made.home} {secret}",
                f"docker compose -f {folder / 'compose.yaml'} up --build --detach",
            ),
        ),
        ("Kubernetes", (kube, f"kubectl apply -f {folder / 'kubernetes.yaml'}")),
    ):
        console.print(f"next, {title}:")
        for line in lines:
            console.print(f"  {line}")
