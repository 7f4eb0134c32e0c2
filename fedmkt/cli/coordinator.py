"""`fedmkt coordinator`: the coordinator's home, for whoever operates it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedmkt.cli import services
from fedmkt.cli.homes import MetricsPort
from fedmkt.core.errors import SettingInvalid
from fedmkt.deployment import joining, key_changes
from fedmkt.deployment.certificates import read_certificate
from fedmkt.deployment.settings import make_coordinator_settings
from fedmkt.storage.key_file import find_passphrase
from fedmkt.storage.whole_file import write_whole

app = typer.Typer(
    help="The coordinator: its home, invitations.", no_args_is_help=True, add_completion=False
)
HomeArgument = Annotated[
    Path, typer.Argument(metavar="HOME", help="The coordinator's home folder.")
]


@app.command()
def init(
    home: HomeArgument,
    host: Annotated[str, typer.Option(help="Name or address under which partners reach it.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where partners connect.")] = 9443,
    control_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of the SuperLink, on loopback alone.")
    ] = 9444,
    name: Annotated[
        str, typer.Option(help="The coordinator's name in the contract.")
    ] = "coordinator",
    certificate: Annotated[
        Path | None, typer.Option(help="A certificate chain (PEM) of your own.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The certificate's key (PEM).", show_default=False)
    ] = None,
) -> None:
    """Make the coordinator's home: identity, TLS certificate, settings, card.

    Example: fedmkt coordinator init /srv/fedmkt/coordinator --host fedmkt.example.org
    """
    if (certificate is None) != (key is None):
        raise SettingInvalid(setting="--certificate", problem="it needs --key, and the other way")
    settings = make_coordinator_settings(name=name, host=host, port=port, control_port=control_port)
    own = None if certificate is None or key is None else read_certificate(certificate, key, host)
    passphrase = find_passphrase(home / joining.KEY_FILE, new=True)
    card = joining.init_coordinator(home, settings, passphrase, certificate=own)
    console = _console()
    console.print(f"made {home}: keys stay there; the passphrase is written down nowhere")
    console.print(f"card: {home / joining.CARD_FILE}, fingerprint {card.fingerprint}")
    console.print("next: fedmkt contract draft, with everybody's card")


@app.command()
def adopt(
    home: HomeArgument,
    contract: Annotated[Path, typer.Argument(metavar="CONTRACT", help="collaboration.toml")],
) -> None:
    """Put the contract that everybody signed into the coordinator's home.

    Example: fedmkt coordinator adopt /srv/fedmkt/hub collaboration.toml
    """
    found = joining.adopt_contract(home, contract)
    console = _console()
    console.print(f"contract {found.name}, signed by all, is in {home}")
    for member in found.members:
        console.print(f"next: fedmkt coordinator invite {home} {member.name}")


@app.command("admit")
def admit_member(
    home: HomeArgument,
    card: Annotated[Path, typer.Argument(metavar="CARD", help="A member's member.json.")],
) -> None:
    """Let a member's node connect, by the key that its card names, from the next start on.

    Example: fedmkt coordinator admit /srv/fedmkt/hub bank.json
    """
    found = joining.read_card(card)
    joining.admit(home, found)
    console = _console()
    console.print(f"{found.name} may connect once the coordinator is started; it looks only then")
    console.print(f"next: fedmkt coordinator run {home}; where it runs already, end it first")


@app.command()
def renew(home: HomeArgument) -> None:
    """Make a new TLS certificate of the authority that partners know; invitations stay good.

    Example: fedmkt coordinator renew /srv/fedmkt/hub
    """
    key_changes.renew(home, find_passphrase(home / joining.KEY_FILE))
    _console().print("renewed for 397 days; start fedmkt coordinator run again to show it")


@app.command()
def run(
    home: HomeArgument,
    listen: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on, as 0.0.0.0. Default: the host that partners know.",
            show_default=False,
        ),
    ] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run the coordinator: guard, SuperLink and executor, started again when they fail.

    Partners reach the guard's address alone. Ends, with all its processes, on SIGTERM or Ctrl-C.
    FEDMKT_LOG=json logs a JSON object a line.
    Example: fedmkt coordinator run /srv/fedmkt/hub
    """
    from fedmkt.deployment.coordinator_process import run_coordinator

    said = f"the coordinator starts; look at it with fedmkt up --status {home}, logs: {home}/logs"
    run_coordinator(
        home, listen=listen, metrics_port=metrics_port, ready=lambda: _console().print(said)
    )


@app.command()
def invite(
    home: HomeArgument,
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="A member of the contract.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MEMBER.invitation.json.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it can be used.")] = 14,
) -> None:
    """Write an invitation for a member: contract, address and certificate in one signed file.

    Example: fedmkt coordinator invite /srv/fedmkt/hub bank -o bank.invitation.json
    """
    file = out or Path(f"{member}.invitation.json")
    invitation = joining.invite(home, member, now=datetime.now(UTC), days=days)
    write_whole(file, invitation.model_dump_json(indent=2).encode())
    console = _console()
    console.print(f"wrote {file}; it is no secret, and holds until {invitation.expires:%d %B %Y}")
    console.print(f"next, at {member}: fedmkt node join HOME {file}")


app.command("service")(services.make_coordinator_service)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
