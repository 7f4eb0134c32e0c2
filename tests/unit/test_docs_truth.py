"""What the docs say is there: commands, links, files, keys, codes and quoted figures."""

import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any, get_args

import click
import pytest
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedmkt.cli.commands import app
from fedmkt.contract.collaboration import (
    Cap,
    Collaboration,
    Dataset,
    KeyColumn,
    Member,
    VerticalTerms,
)
from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.contract.schema import Column, TableSchema
from fedmkt.contract.split_job import SplitJob, SplitPrivacy, SplitSettings
from fedmkt.contract.vertical_jobs import (
    AlignmentJob,
    CountPrivacy,
    ExpansionJob,
    LabelPrivacy,
    OverlapJob,
    Party,
    ScoringJob,
    SharedJob,
    VerticalJob,
    VerticalSettings,
)
from fedmkt.core import errors
from fedmkt.data.sources import SourceSettings
from fedmkt.evidence.receipts import Receipt
from fedmkt.node.settings import NodeSettings
from fedmkt.privacy.accounting import epsilon_of, mu_gdp
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.privacy.events import KNOWN, Event
from fedmkt.privacy.filter import cost_nano, filter_terms, spent_epsilon
from fedmkt.privacy.mechanisms import noise_event
from fedmkt.privacy.randomised_response import guess_accuracy
from fedmkt.storage.tables import metadata

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "fedmkt").rglob("*.md")]
)
OWN_FOLDERS = ("fedmkt/", "tests/", "docs/", "simulations/", "clients/", "server/", "benchmarks/")
GUIDES = ("node_engineer", "privacy_officer", "researcher")
GUARANTEES = ("0019-what-a-vertical-training-guarantees.md",)
"""Records that state what is guaranteed instead of what was chosen; they name their tests."""
DELTA = 1e-5
EPSILONS = (1.0, 3.0, 8.0)
RELEASES = 4


def audit_kinds() -> set[str]:
    """Return the kinds of record that the code writes, read off its calls."""
    rooms = ("node", "storage", "cli")
    files = (file for room in rooms for file in (ROOT / "fedmkt" / room).glob("*.py"))
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    calls = (r'audit\.append\(\s*"([\w ]+)"', r'_write\("(\w+)"', r'Answer\(.*"(\w+)", facts')
    return {kind for call in calls for kind in re.findall(call, source)}


AUDIT_KINDS = audit_kinds()


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """Return language and text of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_blocks(text))


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every `fedmkt …` command, in blocks and in running text."""
    lines = [line.strip() for _, block in blocks(text) for line in block.splitlines()]
    for line in (*lines, *inline_code(text)):
        if re.match(r"fedmkt (?=[a-z-])[^:]*$", line.split("#")[0]):
            yield shlex.split(line.split("#")[0])[1:]


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", without_blocks(text), re.M)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_the_docs_exists_with_its_options(path: Path) -> None:
    for words in commands(path.read_text(encoding="utf-8")):
        command: Any = typer.main.get_command(app)
        rest = list(words)
        while rest and isinstance(command, click.Group):
            command = command.get_command(click.Context(command), rest.pop(0))
            assert command is not None, f"{path.name}: fedmkt {' '.join(words)}"
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word.split("=")[0] for word in rest if word.startswith("--")}
        assert used <= known, f"{path.name}: fedmkt {' '.join(words)}"


@pytest.mark.parametrize("name", ["README.md", *(f"docs/guides/{each}.md" for each in GUIDES)])
def test_the_commands_of_readme_and_guides_are_seen(name: str) -> None:
    """The check above passes on a page in which it sees no command."""
    assert len([*commands(page(name))]) >= 2


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(path.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{path.name}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_named_in_the_docs_exists(path: Path) -> None:
    for word in inline_code(path.read_text(encoding="utf-8")):
        if word.startswith(OWN_FOLDERS) and " " not in word and "*" not in word:
            assert (ROOT / word).exists(), f"{path.name}: {word}"


def test_every_make_target_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.M))
    for path in PAGES:
        code = [block for _, block in blocks(path.read_text(encoding="utf-8"))]
        for text in (*code, *inline_code(path.read_text(encoding="utf-8"))):
            assert set(re.findall(r"^make ([a-z-]+)", text, re.M)) <= targets, path.name


def codes(kind: type[errors.FedmktError]) -> set[str]:
    below = (codes(each) for each in kind.__subclasses__())
    own = {kind.code} if "template" in vars(kind) and not kind.__subclasses__() else set()
    return own.union(*below)


def test_the_engineers_guide_says_what_to_do_on_every_refusal() -> None:
    guide = page("docs/guides/node_engineer.md")
    table = guide[guide.index("| code | do |") : guide.index("A table that cannot be used")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    named = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    assert named == codes(errors.Refusal)


@pytest.mark.parametrize("name", ["node_engineer", "privacy_officer"])
def test_codes_named_in_a_guide_are_codes(name: str) -> None:
    known = codes(errors.FedmktError)
    endings = tuple({"_" + code.rpartition("_")[2] for code in known})
    for word in set(inline_code(page(f"docs/guides/{name}.md"))) - AUDIT_KINDS:
        # A word that looks like a code: it ends as a code does, and no key does so.
        if re.fullmatch(r"[a-z]+(_[a-z]+)+", word) and word.endswith(endings):
            assert word in known, word


def test_every_key_of_node_toml_stands_in_the_engineers_guide() -> None:
    guide = page("docs/guides/node_engineer.md")
    for model in (NodeSettings, SourceSettings):
        for key in model.model_fields:
            assert re.search(rf"\b{key}\b", guide), key


@pytest.mark.parametrize(
    "model",
    [Collaboration, Member, Dataset, VerticalTerms, KeyColumn, TableSchema, Column, Cap, Job,
     AdditiveSettings, PrivacySettings, Party, OverlapJob, AlignmentJob, VerticalJob,
     VerticalSettings, LabelPrivacy, SplitJob, SplitSettings, SplitPrivacy, ScoringJob,
     ExpansionJob, CountPrivacy, Receipt],
)  # fmt: skip
def test_every_key_of_contract_job_and_receipt_stands_in_the_data_model(model: Any) -> None:
    text = page("docs/data_model.md")
    assert [key for key in model.model_fields if f"`{key}`" not in text] == []


KEY_TABLES: tuple[tuple[type[BaseModel], str], ...] = (
    (Collaboration, "## The contract file"),
    (Dataset, "`[[datasets]]`"),
    (VerticalTerms, "`[datasets.vertical]`"),
    (KeyColumn, "`[[datasets.vertical.keys]]`"),
    (TableSchema, "`[datasets.table]`"),
    (Column, "`[[datasets.table.columns]]`"),
    (Cap, "`[[caps]]`"),
    (Job, "## The job file"),
    (AdditiveSettings, "`[model]`"),
    (PrivacySettings, "`[privacy]`"),
    (Party, "`[[parties]]`: two to eight, in the order the protocol takes them."),
    (OverlapJob, '`kind = "overlap"`: two parties, the first counts.'),
    (AlignmentJob, '`kind = "alignment"`: the first party compares.'),
    (
        VerticalJob,
        '`kind = "vertical"`: one training. The first party is the owner of the labels.',
    ),
    (VerticalSettings, "`[model]` of a vertical training"),
    (LabelPrivacy, "`[labels]`"),
    (
        SplitJob,
        '`kind = "split"`: one split training. The first party is the owner of the labels.',
    ),
    (SplitSettings, "`[model]` of a split training"),
    (SplitPrivacy, "`[labels]` of a split training"),
    (ScoringJob, '`kind = "scoring"`'),
    (ExpansionJob, '`kind = "expansion"`: the owner and one partner with features.'),
    (CountPrivacy, "`[privacy]` of these jobs"),
)


def own_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields; of a job over shared customers those that not all of them have."""
    common = set(SharedJob.model_fields) - {"kind"} if issubclass(model, SharedJob) else set()
    return {key: field for key, field in model.model_fields.items() if key not in common}


def limits_of(field: FieldInfo) -> dict[str, str]:
    """Return the limits of a field's values, also where it may be absent."""
    within = [getattr(part, "__metadata__", ()) for part in get_args(field.annotation)]
    infos = [one for part in within for one in part]
    stated = [*field.metadata, *(limit for info in infos for limit in info.metadata)]
    return {
        name: f"{limit:.15g}"
        for one in stated
        for name in ("ge", "gt", "le", "lt")
        if (limit := getattr(one, name, None)) is not None
    }


def stated_types(heading: str) -> dict[str, str]:
    """Return what the first table below a heading of the data model says of each key."""
    text = page("docs/data_model.md")
    table = text[text.index(f"\n{heading}\n") :].split("\n| --- ", 1)[1].split("\n\n", 1)[0]
    rows = [row.split(" | ") for row in table.splitlines()[1:]]
    return {key: row[1] for row in rows for key in re.findall(r"`(\w+)`", row[0])}


def stated_default(cell: str) -> Any:
    """Return the value behind the last comma or semicolon of a type's cell."""
    word = re.findall(r"(?:^|[,;] )(`?\[[^\[\]]*\]`?|[^,;]*)$", cell)[0].strip("`")
    if word == "none":
        return None
    try:
        value = json.loads(word)
    except json.JSONDecodeError:
        return word
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize(("model", "heading"), KEY_TABLES)
def test_the_data_model_states_the_true_default_of_every_key(
    model: type[BaseModel], heading: str
) -> None:
    stated = stated_types(heading)
    for key, field in own_fields(model).items():
        if not field.is_required() and not isinstance(field.default, BaseModel):
            assert stated_default(stated[key]) == field.default, key


@pytest.mark.parametrize(("model", "heading"), KEY_TABLES)
def test_the_data_model_states_the_true_range_of_every_key(
    model: type[BaseModel], heading: str
) -> None:
    stated = stated_types(heading)
    for key, field in own_fields(model).items():
        match limits_of(field):
            case {"ge": low, "le": high}:
                wanted = f"{low} to {high}"
            case {"gt": low, "le": high}:
                wanted = f"above {low}, at most {high}"
            case {"gt": low, "lt": high}:
                wanted = f"above {low}, below {high}"
            case {"ge": "1"}:
                wanted = "whole number"
            case {"ge": low}:
                wanted = f"{low} or more"
            case _:
                continue
        # Not followed by another digit: a most of 10 does not hold a most of 1.
        assert re.search(rf"{re.escape(wanted)}(?![\d.])", stated[key]), key


def test_every_table_and_column_of_the_store_stands_in_the_data_model() -> None:
    rows = page("docs/data_model.md").splitlines()
    for table in metadata.tables.values():
        (row,) = (row for row in rows if row.startswith(f"| `{table.name}`"))
        assert re.findall(r"`(\w+)`", row)[1:] == [column.name for column in table.columns]


def test_every_kind_of_event_and_of_audit_record_stands_in_the_data_model() -> None:
    text = page("docs/data_model.md")
    assert {"opened", "released", "refused", "recovered", "closed"} <= AUDIT_KINDS
    assert [kind for kind in (*AUDIT_KINDS, *KNOWN) if f"| `{kind}` |" not in text] == []


def test_every_decision_is_in_the_index_and_says_what_was_rejected() -> None:
    folder = ROOT / "docs" / "decisions"
    index = page("docs/decisions/README.md")
    records = sorted(folder.glob("0*.md"))
    for number, record in enumerate(records, start=1):
        text = record.read_text(encoding="utf-8")
        assert record.name.startswith(f"{number:04d}-")
        assert (
            f"[{number:04d}]({record.name}) | {text.splitlines()[0].split('. ', 1)[1]} |" in index
        )
        headings = re.findall(r"^## (.+)$", text, re.M)
        if record.name in GUARANTEES:
            assert re.findall(r"`tests/\w+/test_\w+\.py`", text), record.name
            continue
        parts = [heading.split(",")[0] for heading in headings]
        wanted = ["Context", "Choice", "Consequences", "Rejected"]
        assert [part for part in parts if part in wanted] == wanted, record.name


def test_every_python_block_parses_and_its_imports_exist() -> None:
    for path in PAGES:
        for language, block in blocks(path.read_text(encoding="utf-8")):
            if language == "python":
                compile(block, str(path), "exec")
                for line in re.findall(r"^(?:from fedmkt.*|import .*)$", block, re.M):
                    exec(line, {})


@pytest.mark.parametrize(
    ("holds", "prints"), [("build_world(", "Interval("), ("train_twin(", "map_provider: ")]
)
def test_the_researchers_examples_run_as_they_stand(
    holds: str,
    prints: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = (
        block
        for language, block in blocks(page("docs/guides/researcher.md"))
        if language == "python" and holds in block
    )
    exec(compile(example, "researcher.md", "exec"), {"__name__": "example"})
    assert prints in capsys.readouterr().out


def test_auc_figures_in_the_readme_stand_under_the_commands_that_show_them() -> None:
    text, figure = page("README.md"), r"\b0\.[4-9]\d\d\b"
    assert re.findall(figure, without_blocks(text)) == []
    section = text[text.index("## What you will see") : text.index("## What leaves a partner")]
    for story in ("vertical", "horizontal"):
        before, _, after = section.partition(f"`fedmkt demo {story}`")
        assert before
        assert re.findall(figure, blocks(after)[0][1]), story
    assert re.findall(figure, text.replace(section, "")) == []


def test_the_pictures_of_the_readme_are_small() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page("README.md"))
    assert len(pictures) == 2
    assert all((ROOT / picture).stat().st_size < 200_000 for picture in pictures)


def calibrated(epsilon: float) -> list[Event]:
    """Return releases calibrated to `epsilon`; how many they are changes the last digits only."""
    multiplier = noise_multiplier_for(epsilon=epsilon, delta=DELTA, releases=RELEASES)
    event = noise_event(l2_bound=2.0**27, noise_multiplier=multiplier, shares=1, dimensions=350)
    return [event] * RELEASES


def spent_of(cap: float, events: list[Event]) -> float:
    terms = filter_terms(cap, DELTA)
    nano = sum(cost_nano(event, terms.order) for event in events)
    return spent_epsilon(cap, nano, terms.budget_nano)


def test_the_officers_table_of_best_guesses_is_right() -> None:
    """Two Gaussians mu apart are put in order with probability Phi(mu / sqrt(2))."""
    guide = page("docs/guides/privacy_officer.md")
    for epsilon in EPSILONS:
        right = NormalDist().cdf(mu_gdp(calibrated(epsilon)) / 2**0.5)
        (row,) = re.findall(rf"^\| {epsilon:g} \| (.*) \|$", guide, re.M)
        assert row.endswith(f"| {100 * right:.0f} of 100")
        assert f"factor {2.718281828459045**epsilon:,.{1 if epsilon < 3 else 0}f} " in row


def test_the_quoted_chances_of_a_randomised_label_are_right() -> None:
    guide = page("docs/guides/privacy_officer.md")
    right = {epsilon: f"{100 * guess_accuracy(epsilon):.0f} of 100" for epsilon in (1.0, 3.0)}
    assert f"{right[1.0]} at epsilon 1, {right[3.0]} at epsilon 3" in guide


def test_the_quoted_bits_of_a_total_follow_from_the_default_levels() -> None:
    levels = VerticalTerms.model_fields["most_levels"].default
    assert (
        f"At\n{levels} levels one round says about {math.log2(levels):.0f} bits a feature"
        in page("docs/guides/privacy_officer.md")
    )


def test_the_quoted_shares_of_a_cap_are_right() -> None:
    guide, edges = page("docs/guides/privacy_officer.md"), page("docs/sharp_edges.md")
    one, eight = calibrated(1.0), calibrated(8.0)
    quoted = {9.0: "0.226", 10.0: "0.214", 12.0: "0.185"}
    assert {cap: f"{spent_of(cap, one):.3f}" for cap in quoted} == quoted
    assert "0.214 under a cap of 10 and 0.226 under a cap of 9" in edges
    assert 8 < spent_of(10.0, eight) < 8.5
    assert "uses more\nthan 8 of 10" in guide
    fit = int(10 / spent_of(10.0, one))
    assert f"about {fit} such runs fit, and all {fit} together" in guide
    assert f"epsilon\n{epsilon_of(one * fit, DELTA):.1f}:" in guide


def test_the_quoted_gains_of_a_larger_budget_are_right() -> None:
    """Proposition 12 of arXiv:2004.00010: what is left at order a pays for left / a at 1 a unit."""
    record = " ".join(
        page("docs/decisions/0007-renyi-filter-as-the-cap-pld-as-the-report.md").split()
    )

    def paid(cap: float, order: int) -> float:
        left = cap - math.log1p(-1 / order) + math.log(DELTA * order) / (order - 1)
        return left / order

    at_order, at_best = {}, {}
    for cap in (1, 3, 10, 12):
        terms = filter_terms(cap, DELTA)
        now = terms.budget_nano / 1e9 / terms.order
        at_order[cap] = f"{100 * (paid(cap, terms.order) / now - 1):.1f}%"
        at_best[cap] = 100 * (max(paid(cap, order) for order in range(2, 200)) / now - 1)
    assert at_order[10] == at_order[12]
    assert (
        f"{at_order[1]} more at a cap of epsilon 1, {at_order[3]} at 3, {at_order[10]} at 10 and "
        f"12; with the best order as well, {at_best[1]:.0f}% at 1, {at_best[3]:.1f}% at 3, "
        f"{at_best[10]:.1f}% at 10"
    ) in record


def test_the_quoted_costs_for_a_customer_of_three_partners_are_right() -> None:
    together = {epsilon: epsilon_of(calibrated(epsilon) * 3, DELTA) for epsilon in EPSILONS}
    assert f"{together[1.0]:.2f} together, 3 becomes {together[3.0]:.2f}" in page(
        "docs/guides/privacy_officer.md"
    )
    assert f"8 about {together[8.0]:.0f} (" in page("docs/guides/privacy_officer.md")
    assert f"three partners, {together[1.0]:.2f}." in page("docs/sharp_edges.md")
