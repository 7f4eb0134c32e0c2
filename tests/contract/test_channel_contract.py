"""Every Channel keeps the channel contract: in process, and over a real SuperLink."""

import json
from pathlib import Path

import pytest
from contract.channel_contract import CHECKS, Check, Pace, open_contract_handler
from end_to_end.superlink import app_files, running_superlink

from fedmkt.transport.channel import Channel
from fedmkt.transport.flower import Config, make_client_app, make_server_app
from fedmkt.transport.in_process import run_in_process

IN_PROCESS = Pace(prompt_s=10.0, slow_s=0.6)

_SUPERLINK_CLIENT = """
from channel_contract import open_contract_handler
from fedmkt.transport.flower import make_client_app
app = make_client_app(open_contract_handler)
"""

# An idle SuperNode looks for messages every 3 s and starts a process for each: slow is 40 s.
_SUPERLINK_SERVER = """
import json, traceback
from pathlib import Path
from channel_contract import CHECKS, Pace
from fedmkt.transport.flower import make_server_app

def main(channel, config):
    outcomes = {}
    for check in CHECKS:
        try:
            check(channel, Pace(prompt_s=60.0, slow_s=40.0))
            outcomes[check.__name__] = "kept"
        except Exception:
            outcomes[check.__name__] = traceback.format_exc()
    Path(config["home"]).write_text(json.dumps(outcomes))

app = make_server_app(main)
"""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_in_process_channel_keeps(check: Check) -> None:
    kept: list[str] = []

    def main(channel: Channel, _config: Config) -> None:
        check(channel, IN_PROCESS)
        kept.append(check.__name__)

    run_in_process(
        make_server_app(main),
        make_client_app(open_contract_handler),
        node_configs={11: {}, 12: {}, 13: {}},
        run_config={},
    )
    assert kept == [check.__name__]


@pytest.mark.slow
def test_superlink_channel_keeps_the_same_contract(tmp_path: Path) -> None:
    contract = Path(__file__).with_name("channel_contract.py").read_bytes()
    files = app_files(client=_SUPERLINK_CLIENT, server=_SUPERLINK_SERVER)
    outcomes = tmp_path / "outcomes.json"
    with running_superlink(tmp_path / "link", {name: {} for name in "abc"}) as link:
        run = link.run(
            files | {"channel_contract.py": contract}, {"home": str(outcomes)}, timeout_s=500
        )
    assert run.status == "finished:completed", link.logs()
    kept = {check.__name__: "kept" for check in CHECKS}
    assert json.loads(outcomes.read_text()) == kept
