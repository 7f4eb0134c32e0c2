"""A SuperLink whose control routes ask for the operator's token.

    python -m fedmkt.transport.superlink --operator-token FILE [flower-superlink's own options]

Guarantee: what this project does not use is not there (`superlink_routes`). Every `/v1/control/`
route that does anything answers 401 without the token in FILE,
also to other users and processes of this machine; the process does not start with a file that
others can read, nor with a Flower that has no place for the check.
Not guaranteed: anything against this user's own processes and root; they read the file.

It also spares its database and its exchanges work that nobody needs (`superlink_database`,
`superlink_exchange`), or says that it cannot.

Flower's open edition has no credential for the operator: its control routes let anybody in who
reaches the port, and the port cannot be a Unix socket. It does have a place for one, a plugin that
its own middleware asks before any control handler; the other editions fill it with OpenID.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from flwr.common.constant import ACCESS_TOKEN_KEY, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.supercore.auth.typing import (
    AccountAuthCredentials,
    AccountAuthLoginDetails,
    AccountInfo,
)
from flwr.superlink.auth_plugin import ControlAuthnPlugin

from fedmkt.core.errors import FedmktError, SettingInvalid
from fedmkt.transport.operator_token import OperatorToken, read_operator_token
from fedmkt.transport.superlink_database import spare_database
from fedmkt.transport.superlink_exchange import ease_exchanges
from fedmkt.transport.superlink_routes import answer_only_known

_LOADER = "load_control_authn_plugin"
SLOW = "exchanges take as long as Flower's own"

_log = logging.getLogger(__name__)


class OperatorOnly(ControlAuthnPlugin):
    """Lets in who shows the token, as the one account that Flower's open edition knows."""

    def __init__(self, token: OperatorToken) -> None:
        self._token = token

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """Return whether a request shows the token, and whose request it then is."""
        shown = [value for name, value in metadata if name == ACCESS_TOKEN_KEY]
        if len(shown) != 1 or not self._token.equals(shown[0]):
            return False, None
        return True, AccountInfo(flwr_aid=NOOP_FLWR_AID, account_name=NOOP_ACCOUNT_NAME)

    def get_login_details(self) -> AccountAuthLoginDetails | None:
        """Return None: nobody logs in."""

    def get_auth_tokens(self, device_code: str) -> AccountAuthCredentials | None:
        """Return None: no token is handed out."""

    def refresh_tokens(
        self,
        metadata: Sequence[tuple[str, str | bytes]],  # noqa: ARG002
    ) -> tuple[Sequence[tuple[str, str | bytes]] | None, AccountInfo | None]:
        """Return nothing: no token is renewed."""
        return None, None


def main() -> None:
    """Run a SuperLink that asks for the token. The other arguments are flower-superlink's."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--operator-token", type=Path, required=True)
    options, rest = parser.parse_known_args()
    # The package has a function of the module's own name.
    flower = importlib.import_module("flwr.superlink.cli.flower_superlink")
    try:
        plugin = OperatorOnly(read_operator_token(options.operator_token))
        if not hasattr(flower, _LOADER):
            # Security: set beside what Flower asks, the check would be asked by nobody.
            raise SettingInvalid(setting="flwr", problem="this version has no place for the check")
        eased = all((spare_database(), ease_exchanges()))
        answer_only_known()
    except FedmktError as error:
        sys.exit(f"{error.code}: {error}")
    setattr(flower, _LOADER, lambda: plugin)
    if not eased:
        _log.warning(
            "this Flower (%s), or how it is set up, was not tested: %s", version("flwr"), SLOW
        )
    sys.argv = ["flower-superlink", *rest]
    flower.flower_superlink()


if __name__ == "__main__":
    main()
