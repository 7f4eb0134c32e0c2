"""Every Channel keeps the channel contract: on each backend, and over a real SuperLink."""

import importlib.util
import inspect
import json
from pathlib import Path
from typing import get_type_hints

import pytest
from contract import channel_contract
from contract.channel_contract import CHECKS, Check, Pace, open_contract_handler
from end_to_end.superlink import app_files, running_superlink

from fedmkt.transport.backends import Backend
from fedmkt.transport.channel import Channel
from fedmkt.transport.flower import Config, make_client_app, make_server_app
from fedmkt.transport.in_process import run_in_process

IN_PROCESS = Pace(prompt_s=10.0, slow_s=0.6)
WORKERS = Pace(prompt_s=20.0, slow_s=3.0)
RAY = Pace(prompt_s=30.0, slow_s=5.0)
START_S = 300.0
with_ray = (
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="the extra `simulation` is not installed"
    ),
    # Ray forgets its processes before they have ended.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
)

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


def test_every_check_of_the_contract_is_among_those_that_run() -> None:
    stated = {
        name
        for name, one in inspect.getmembers(channel_contract, inspect.isfunction)
        if not name.startswith("_")
        and list(get_type_hints(one).values()) == [Channel, Pace, type(None)]
    }
    assert stated == {check.__name__ for check in CHECKS}


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


@pytest.mark.parametrize(
    ("backend", "pace"),
    [
        (Backend("workers", 3), WORKERS),
        pytest.param(Backend("ray", 3), RAY, marks=with_ray),
    ],
    ids=["workers", "ray"],
)
def test_channels_to_other_processes_keep_the_same_contract(backend: Backend, pace: Pace) -> None:
    kept: list[str] = []

    def main(channel: Channel, _config: Config) -> None:
        # A backend's processes take their time to start, which is none of the contract's.
        nodes = channel.node_ids(at_least=3, deadline_s=START_S)
        assert len(channel.exchange(dict.fromkeys(nodes, b"hello"), deadline_s=START_S)) == 3
        for check in CHECKS:
            check(channel, pace)
            kept.append(check.__name__)

    backend.run_apps(
        make_server_app(main),
        "contract.contract_app:app",
        node_configs={11: {}, 12: {}, 13: {}},
        run_config={},
    )
    assert kept == [check.__name__ for check in CHECKS]


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
