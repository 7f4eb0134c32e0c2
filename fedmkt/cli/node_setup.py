"""`fedmkt node init | card | join | run`: a partner's node, from nothing to running."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedmkt.cli.homes import MetricsPort
from fedmkt.core.errors import SettingInvalid
from fedmkt.deployment import joining
from fedmkt.deployment.plan import quiet_environment
from fedmkt.node.settings import read_settings
from fedmkt.storage.key_file import find_passphrase

FLOWER_FOLDER = "flower"
HomeArgument = Annotated[Path, typer.Argument(metavar="HOME", help="The node's home folder.")]


def init(
    home: HomeArgument,
    member: Annotated[str, typer.Option(help="Your name in the contract.")],
) -> None:
    """Make a node's home: keys, settings, and a card to hand out.

    Keys are made here and never leave. Example: fedmkt node init /srv/fedmkt/bank --member bank
    """
    passphrase = find_passphrase(home / joining.KEY_FILE, new=True)
    card = joining.init_node(home, member, passphrase)
    console = _console()
    console.print(f"made {home}: keys stay there; the passphrase is written down nowhere")
    console.print(f"card: {home / joining.CARD_FILE}, fingerprint {card.fingerprint}")
    console.print(f"next: fedmkt node import {home} TABLE, or hand the card to the coordinator")


def card(home: HomeArgument) -> None:
    """Write the card anew, with the datasets that stand in HOME/datasets.

    Example: fedmkt node card /srv/fedmkt/bank
    """
    found = joining.write_card(home, read_settings(home / "node.toml").member)
    console = _console()
    names = ", ".join(one.name for one in found.datasets) or "none"
    console.print(f"card: {home / joining.CARD_FILE}, fingerprint {found.fingerprint}")
    console.print(f"datasets in it: {names}")


def join(
    home: HomeArgument,
    invitation: Annotated[Path, typer.Argument(metavar="INVITATION")],
) -> None:
    """Take the coordinator's invitation: contract, certificate and address go into the home.

    Example: fedmkt node join /srv/fedmkt/bank bank.invitation.json
    """
    contract = joining.join(home, invitation, now=datetime.now(UTC))
    console = _console()
    console.print(f"joined {contract.name}; the contract is signed by all its members")
    console.print(f"next: fedmkt node check {home}")


def run(
    home: HomeArgument,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="SHA-256 of a bundle to run besides the contract's.", show_default=False),
    ] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run the node: one outbound connection, no open port. Ends when it is asked to (SIGTERM).

    FEDMKT_LOG=json logs a JSON object a line.

    Example: fedmkt node run /srv/fedmkt/bank
    """
    link = read_settings(home / "node.toml").link
    if link is None:
        problem = "it has no [link] yet; take an invitation with fedmkt node join"
        raise SettingInvalid(setting="node.toml", problem=problem)
    # Flower reads its settings when it is imported, so they come first.
    os.environ.update(quiet_environment(home.resolve() / FLOWER_FOLDER, {}))
    from fedmkt.deployment.node_process import main

    words = ["--home", str(home.resolve()), "--link", link.address]
    words += ["--certificate", str(home / link.certificate), "--key", str(home / link.key)]
    words += [word for one in allow or () for word in ("--allow", one)]
    words += [] if metrics_port is None else ["--metrics-port", str(metrics_port)]
    main(words)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
