"""Logs name member and run, for people or for machines, and never what an error quotes."""

import io
import json
import logging

import pytest

from fedmkt.core.logs import JsonLines, TextLines, about_run

PLANTED = "anna.muster@example.org"


def logged(formatter: logging.Formatter) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    log = logging.Logger("fedmkt.trial")
    log.addHandler(handler)
    with about_run("joint-1"):
        log.info("step %d done", 3)
        try:
            raise ValueError(PLANTED)
        except ValueError:
            log.exception("a step failed")
    log.info("waiting")
    return stream.getvalue()


def test_json_logs_are_an_object_a_line_with_member_and_run() -> None:
    lines = [json.loads(line) for line in logged(JsonLines("bank")).splitlines()]
    assert [(one["member"], one["run"], one["message"]) for one in lines] == [
        ("bank", "joint-1", "step 3 done"),
        ("bank", "joint-1", "a step failed"),
        ("bank", "", "waiting"),
    ]
    assert lines[1]["error"] == "ValueError"
    assert set(lines[0]) == {"at", "level", "logger", "member", "run", "message"}


def test_text_logs_name_member_and_run() -> None:
    first, second, *_ = logged(TextLines("bank")).splitlines()
    assert first.endswith("INFO bank joint-1: step 3 done")
    assert second.endswith("ERROR bank joint-1: a step failed")


@pytest.mark.parametrize("form", [JsonLines, TextLines])
def test_the_text_of_an_error_is_not_logged(form: type[JsonLines] | type[TextLines]) -> None:
    text = logged(form("bank"))
    assert "ValueError" in text
    assert PLANTED not in text
    assert "test_logs.py" not in text
