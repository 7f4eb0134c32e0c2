"""The executor starts apps whose token no other user of the machine can read."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor import subprocess_executor
from flwr.supercore.superexec.executor.types import ExecutionSpec

from fedmkt.core.errors import SettingInvalid
from fedmkt.transport import executor
from fedmkt.transport.executor import hide_tokens
from fedmkt.transport.tested import TESTED

TOKEN = "5f" * 32
APP = """#!{python}
import argparse, sys, time
from flwr.common.args import add_args_flwr_app_common, try_obtain_flwr_app_token

parser = argparse.ArgumentParser()
parser.add_argument("--runtime-api-address")
add_args_flwr_app_common(parser)
open({out!r}, "w").write(try_obtain_flwr_app_token(parser.parse_args()))
time.sleep(60)
"""


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Flower lets it go
def test_an_app_gets_its_token_and_no_command_line_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, program = tmp_path / "out", tmp_path / "flwr-serverapp"
    program.write_text(APP.format(python=sys.executable, out=str(out)))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(subprocess_executor, "subprocess", subprocess)
    hide_tokens()
    spec = ExecutionSpec(
        task_type=TaskType.SERVER_APP,
        task_id=1,
        token=TOKEN,
        runtime_api_address="127.0.0.1:1",
        insecure=True,
        root_certificates_path=None,
        parent_pid=None,
        runtime_dependency_install=False,
        suppress_output=True,
    )
    before = set(psutil.Process().children())  # other tests of this process may have left some
    subprocess_executor.SubprocessExecutor().launch(spec)
    (started,) = set(psutil.Process().children()) - before
    try:
        until = time.monotonic() + 60
        while (not out.exists() or out.read_text() != TOKEN) and time.monotonic() < until:
            time.sleep(0.05)
        assert out.read_text() == TOKEN
        assert "flwr-serverapp" in " ".join(started.cmdline())
        assert TOKEN not in " ".join(started.cmdline())
    finally:
        started.kill()
        started.wait()


@pytest.mark.parametrize("why", ["untested", "changed"])
def test_it_does_not_start_with_a_flower_that_may_show_tokens(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess_executor, "subprocess", subprocess)
    if why == "changed":
        monkeypatch.delattr(subprocess_executor, executor._STARTS)
    with pytest.raises(SettingInvalid, match="tokens"):
        hide_tokens("1.40.0" if why == "untested" else TESTED[0])
