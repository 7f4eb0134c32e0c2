"""The promise of report.json, version 1, to the programs that read it.

`report_v1.json` is a whole report with invented figures, without the optional keys that came later;
`report_v1_vertical.json` is one of the vertical demonstration, shortened. Readers of version 1 rely
on their form.
"""

import copy
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from fedmkt.evidence.report import Report, to_json_schema

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((Path(__file__).parent / "report_v1.json").read_text(encoding="utf-8"))
VERTICAL = json.loads(
    (Path(__file__).parent / "report_v1_vertical.json").read_text(encoding="utf-8")
)
STORED = json.loads(
    resources.files("fedmkt.evidence").joinpath("report.schema.json").read_text(encoding="utf-8")
)

# What every version-1 report holds: {path of an object: its required keys}.
REQUIRED = {
    (): "schema_version seed partners models budget refusals audit protection",
    ("partners", 0): "name rows auc",
    ("partners", 0, "auc"): "value low high",
    ("models", 0): "name family training trust features epsilon delta auc rounds exchanges "
    "bytes_up bytes_down wall_s",
    ("models", 0, "auc"): "value low high",
    ("budget", 0): "partner dataset purpose period lifetime",
    ("budget", 0, "period"): "cap spent left",
    ("budget", 0, "lifetime"): "cap spent left",
    ("refusals", 0): "partner job code message",
    ("audit", 0): "partner records verified",
    ("protection", 0): "run masked noised",
}
CASES = [(path, key) for path, keys in REQUIRED.items() for key in keys.split()]

# What the parts about shared customers hold, where a report has them.
REQUIRED_VERTICAL = {
    ("overlaps", 0): "run members key overlap minimum noise",
    ("alignment", 0): "run members keys sizes intersection match_rate duplicates opted_out noise "
    "exchanges bytes_up bytes_down wall_s",
    ("value",): "owner run owner_auc joint_auc owner_lift joint_lift gain verdict words mode "
    "label_epsilon holdout scores_seen partners",
    ("value", "gain"): "value low high",
    ("value", "partners", 0): "name auc lift joint_auc gain verdict words run",
    ("column_inference", 0): "run partner column known accuracy majority",
    ("students", 0): "partner run seed epsilon auc joint_auc recall ranked",
    ("explained", 0): "member reasons total",
    ("runs", 0): "run kind members exchanges bytes_up bytes_down wall_s seconds",
}
CASES_VERTICAL = [(path, key) for path, keys in REQUIRED_VERTICAL.items() for key in keys.split()]


def inside(document: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def refused_by_both(document: dict[str, Any]) -> bool:
    try:
        jsonschema.validate(document, STORED)
    except jsonschema.ValidationError:
        with pytest.raises(ValidationError):
            Report.model_validate(document)
        return True
    return False


def keys_of(schema: dict[str, Any]) -> Iterator[str]:
    for definition in (schema, *schema["$defs"].values()):
        yield from definition.get("properties", {})


def test_the_stored_schema_is_current() -> None:
    assert to_json_schema() == STORED


def test_the_stored_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(STORED)


def test_a_report_of_version_1_stays_readable() -> None:
    jsonschema.validate(DOCUMENT, STORED)
    read = Report.model_validate(DOCUMENT)
    assert read.model_dump(mode="json", exclude_unset=True) == DOCUMENT


def test_a_report_about_shared_customers_stays_readable() -> None:
    jsonschema.validate(VERTICAL, STORED)
    assert Report.model_validate(VERTICAL).document() == VERTICAL


def test_a_report_that_says_nothing_of_shared_customers_is_a_horizontal_one() -> None:
    assert "story" not in DOCUMENT
    assert Report.model_validate(DOCUMENT).story == "horizontal"


@pytest.mark.parametrize("document", [DOCUMENT, VERTICAL], ids=["horizontal", "vertical"])
def test_a_report_survives_json_unchanged(document: dict[str, Any]) -> None:
    report = Report.model_validate(document)
    assert Report.model_validate_json(json.dumps(report.document())) == report


@pytest.mark.parametrize(("path", "key"), CASES_VERTICAL)
def test_each_promised_key_about_shared_customers_is_required(
    path: tuple[str | int, ...], key: str
) -> None:
    document = copy.deepcopy(VERTICAL)
    del inside(document, path)[key]
    assert refused_by_both(document)


@pytest.mark.parametrize("path", REQUIRED_VERTICAL)
def test_an_unknown_key_about_shared_customers_is_refused(path: tuple[str | int, ...]) -> None:
    document = copy.deepcopy(VERTICAL)
    inside(document, path)["customer_rows"] = []
    assert refused_by_both(document)


@pytest.mark.parametrize(("path", "key"), CASES)
def test_each_promised_key_is_required(path: tuple[str | int, ...], key: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    del inside(document, path)[key]
    assert refused_by_both(document)


def test_the_smallest_report_holds_the_promised_keys_and_nothing_else() -> None:
    document = copy.deepcopy(DOCUMENT)
    for path, keys in REQUIRED.items():
        entry = inside(document, path)
        for extra in set(entry) - set(keys.split()):
            del entry[extra]
    jsonschema.validate(document, STORED)
    Report.model_validate(document)


@pytest.mark.parametrize("path", [*REQUIRED, ("curves", 0), ("shapes", 0), ("data",)])
def test_an_unknown_key_is_refused_everywhere(path: tuple[str | int, ...]) -> None:
    document = copy.deepcopy(DOCUMENT)
    inside(document, path)["customer_rows"] = []
    assert refused_by_both(document)


@pytest.mark.parametrize("version", [0, 2, "1"])
def test_another_schema_version_is_refused(version: object) -> None:
    assert refused_by_both({**DOCUMENT, "schema_version": version})


def test_every_key_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "report_schema.md").read_text()))
    assert set(keys_of(STORED)) - documented == set()


def test_every_documented_list_exists() -> None:
    text = (ROOT / "docs" / "report_schema.md").read_text()
    sections = set(re.findall(r"^## (\w+)(?:\[\])?$", text, flags=re.MULTILINE))
    documents = (DOCUMENT, VERTICAL)
    lists = {key for d in documents for key, value in d.items() if isinstance(value, list | dict)}
    assert sections == lists - {"notes"}
