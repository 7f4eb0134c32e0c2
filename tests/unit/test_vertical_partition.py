"""The demonstration's parties are as stated, and the rule in the clear finds the true overlap."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import phonenumbers
import polars as pl
import pytest

from fedmkt.core.errors import SettingInvalid
from fedmkt.data import bundled
from fedmkt.data.consent import read_consent
from fedmkt.data.identifiers import Customers, read_customers
from fedmkt.data.validation import validate
from fedmkt.simulation.vertical_partition import (
    PARTIES,
    PURPOSE,
    PartyData,
    make_parties,
    true_overlap,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEOPLE = 4_000


class Frames:
    """A source that holds its table."""

    name = "frames"

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def batches(self, columns, batch_rows):
        yield self.frame.select(list(columns))


@pytest.fixture(scope="module")
def adult() -> pl.DataFrame:
    return bundled.load("adult_train").head(PEOPLE)


@pytest.fixture(scope="module")
def parties(adult) -> dict[str, PartyData]:
    return make_parties(adult, seed=1)


@pytest.fixture(scope="module")
def customers(parties) -> dict[str, Customers]:
    return {name: read(party) for name, party in parties.items()}


def read(party: PartyData, *, consent: bool = True) -> Customers:
    table = read_consent(Frames(party.consent), dataset="made")
    return read_customers(
        Frames(party.table),
        customer_key=party.schema.customer_key,
        columns=party.keys,
        dataset="made",
        covered=table.covered(PURPOSE, now=NOW) if consent else None,
    )


def align(members: Sequence[Customers]) -> list[tuple[str, ...]]:
    """Return the aligned customers, their key at each member.

    Members compare the first column, and each further one for whom the earlier ones did not find.
    """
    found: list[tuple[str, ...]] = []
    for column in range(len(members[0].identifiers)):
        taken = [{keys[place] for keys in found} for place in range(len(members))]
        holders = [
            {
                value: key
                for value, key in zip(one.identifiers[column], one.customer_keys, strict=True)
                if value is not None and key not in already
            }
            for one, already in zip(members, taken, strict=True)
        ]
        shared = set.intersection(*map(set, holders))
        found += [tuple(holder[value] for holder in holders) for value in sorted(shared)]
    return found


def people_of(party: PartyData) -> Mapping[str, int]:
    keys = party.table.get_column(party.schema.customer_key)
    return dict(zip(keys, party.people.tolist(), strict=True))


@pytest.mark.parametrize("members", [PARTIES, PARTIES[:3], PARTIES[:2], PARTIES[1:3]])
def test_the_rule_in_the_clear_finds_the_true_overlap_and_nobody_else(parties, customers, members):
    found = align([customers[name] for name in members])
    behind = [people_of(parties[name]) for name in members]
    people = [{of[key] for of, key in zip(behind, keys, strict=True)} for keys in found]
    assert all(len(one) == 1 for one in people)  # every member means the same person
    once = Counter(person for one in people for person in one)
    assert set(once.values()) == {1}
    assert set(once) == true_overlap({name: parties[name] for name in members})


def test_the_overlap_has_the_size_that_the_shares_give(parties):
    # Independent draws. At one party a person counts with its share times .96 for consent; one of
    # four parties lacks an address with .08, a number with .06.
    email, phone = 0.92**4, 0.94**4
    known = email + phone - email * phone
    expected = PEOPLE * 0.92 * 0.88 * 0.90 * 0.95 * 0.96**4 * known
    assert len(true_overlap(parties)) == pytest.approx(expected, rel=0.06)  # four deviations


def test_the_second_key_finds_people_the_first_does_not(parties, customers):
    members = list(customers.values())
    first = [
        Customers(one.customer_keys, one.identifiers[:1], one.rows, one.opted_out, 0, 0, (0,), (0,))
        for one in members
    ]
    # With .92^4 = .72 known by address, .28 times .94^4 = .22 more are found by number.
    assert len(align(members)) / len(align(first)) == pytest.approx(0.935 / 0.716, rel=0.05)


def test_without_consent_people_are_found_who_did_not_agree(parties):
    found = align([read(party, consent=False) for party in parties.values()])
    of = people_of(parties["bank"])
    assert len({of[keys[0]] for keys in found} - true_overlap(parties)) > 0.05 * PEOPLE


@pytest.mark.parametrize("name", PARTIES)
def test_tables_keep_their_schemas_and_have_the_stated_faults(parties, customers, name):
    party, found = parties[name], customers[name]
    assert not validate(party.table, party.schema, name).findings
    rows = party.table.height
    assert found.rows == rows
    assert 0.005 < found.duplicates / rows < 0.03
    assert 0.02 < found.opted_out / rows < 0.06
    assert found.unusable > 0
    assert found.invalid == found.shared == (0, 0)
    for column in ("email", "phone"):
        assert 0.04 < party.table[column].null_count() / rows < 0.10
    entries = party.consent.get_column("key").n_unique()
    assert 0.98 < entries / rows < 0.998
    withdrawn = party.consent.filter(pl.col("status") == "withdrawn").height
    assert 0.02 < withdrawn / rows < 0.04


@pytest.mark.parametrize("name", PARTIES)
def test_a_person_decides_alike_under_all_its_keys(parties, name):
    party = parties[name]
    decided = dict(party.consent.group_by("key").agg(pl.col("status").sort()).iter_rows())
    decisions: dict[int, list[object]] = {}
    for key, person in people_of(party).items():
        decisions.setdefault(person, []).append(decided.get(key))
    twice = [one for one in decisions.values() if len(one) > 1]
    assert len(twice) > 20
    assert all(first == second for first, second in twice)


@pytest.mark.parametrize(
    ("name", "share"),
    [("bank", 0.92), ("retailer", 0.88), ("map_provider", 0.90), ("weather_service", 0.95)],
)
def test_each_party_serves_its_share_of_people(parties, name, share):
    assert len(set(parties[name].people.tolist())) / PEOPLE == pytest.approx(share, abs=0.02)


def test_columns_are_those_of_the_person_and_race_and_sex_nowhere(adult, parties):
    for name in PARTIES[:3]:
        columns = [column.name for column in parties[name].schema.columns]
        assert (
            parties[name].table.select(columns).equals(adult.select(columns)[parties[name].people])
        )
    everywhere = {column for party in parties.values() for column in party.table.columns}
    assert not everywhere & {"race", "sex", "customer"}
    assert {"age", "income", "relationship", "education", "umbrella_count"} <= everywhere
    assert "people" not in everywhere


def test_the_bank_alone_knows_the_target(parties):
    for name, party in parties.items():
        uses = {column.use for column in party.schema.columns}
        assert ("target" in uses) == (name == "bank")


def test_the_weather_service_knows_nothing_of_incomes(adult, parties):
    party = parties["weather_service"]
    rich = (adult["income"] == ">50K").cast(pl.Float64)[party.people]
    for values in (
        party.table["umbrella_count"],
        party.table["sunny_days"],
        party.table["favourite_season"].replace_strict({"winter": 1}, default=0),
    ):
        correlation = pl.select(pl.corr(rich, values)).item()
        assert abs(correlation) < 4 / len(rich) ** 0.5  # four deviations of independent draws


def test_parties_number_and_spell_their_customers_each_in_their_own_way(parties):
    keys = [set(people_of(party)) for party in parties.values()]
    assert not set.intersection(*keys)
    for party in parties.values():
        emails = party.table["email"].drop_nulls()
        assert 0.6 < (emails != emails.str.strip_chars().str.to_lowercase()).mean() < 0.85
        phones = party.table["phone"].drop_nulls()
        assert phones.str.replace_all(r"\d", "0").n_unique() == 5


def test_addresses_and_numbers_are_made_and_valid(customers):
    for one in customers.values():
        emails, phones = one.identifiers
        domains = {email.partition("@")[2] for email in emails if email}
        assert domains == {"example.com", "example.org", "example.net"}
        for phone in [phone for phone in phones if phone][::40]:
            assert phonenumbers.is_valid_number(phonenumbers.parse(phone))
            assert phone[:2] == "+1"
            assert phone[5:10] == "55501"  # kept for fiction


def test_a_seed_gives_the_same_parties_and_another_seed_others(adult, parties):
    again, other = make_parties(adult, seed=1), make_parties(adult, seed=2)
    for name in PARTIES:
        assert again[name].table.equals(parties[name].table)
        assert again[name].consent.equals(parties[name].consent)
        assert not other[name].table.equals(parties[name].table)


def test_more_people_than_numbers_for_fiction_are_refused(adult):
    with pytest.raises(SettingInvalid, match="telephone numbers for fiction"):
        make_parties(pl.concat([adult] * 10), seed=1)


def test_party_data_never_prints_its_rows(parties):
    assert "example.com" not in repr(parties["bank"])
