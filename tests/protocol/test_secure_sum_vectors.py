"""Recorded runs with fixed secrets, and an independent implementation that makes them again.

The oracle below uses none of the package's secure sum: X25519 by RFC 7748's ladder in plain
Python, HKDF from hmac, the keystream from AES-ECB of counters, shares from power sums.
"""

import hashlib
import hmac
import json
from pathlib import Path

import cbor2
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedmkt.core.stages import NoiselessUpdate
from fedmkt.identity.keys import Identity
from fedmkt.security.secure_sum import collector, masks, member, messages, opening

VECTORS = json.loads((Path(__file__).parent / "vectors" / "secure_sum.json").read_text())["cases"]
PRIME = 2**521 - 1
CURVE = 2**255 - 19


def unhex(mapping):
    return {name: bytes.fromhex(value) for name, value in mapping.items()}


@pytest.fixture(params=VECTORS, ids=lambda case: case["name"])
def case(request):
    return request.param


def restored(case, secure_sum_run):
    secrets = {
        name: opening._Secrets(
            bytes.fromhex(own["share"]),
            bytes.fromhex(own["polynomial"]),
            tuple(map(bytes.fromhex, own["masks"])),
            tuple(map(bytes.fromhex, own["seeds"])),
        )
        for name, own in case["secrets"].items()
    }
    identities = {
        name: Identity(bytes.fromhex(own["identity"])) for name, own in case["secrets"].items()
    }
    return secure_sum_run(
        tuple(case["roster"]),
        run=case["run"],
        bits=case["bits"],
        identities=identities,
        secrets=secrets,
    )


def test_recorded_run_is_made_again_byte_for_byte(case, secure_sum_run):
    run = restored(case, secure_sum_run)
    assert run.bundles == unhex(case["bundles"])
    run.share()
    run.sealed = {sender: unhex(each) for sender, each in case["sealed"].items()}
    for name in run.roster:
        run.states[name] = member.receive_shares(run.states[name], run.inbox(name))
    masked = {}
    for name in case["masked"]:
        update = NoiselessUpdate(np.array(case["updates"][name]))
        run.states[name], out = member.mask_noiseless(
            run.states[name], case["sum"], update, request_hash=case["request"]
        )
        masked[name] = out.values
        assert [str(value) for value in out.values] == case["masked"][name]
    transcript = run.transcript(case["sum"], masked, case["request"])
    assert transcript == bytes.fromhex(case["transcript"])
    votes = run.vote(case["sum"], transcript, masked)
    assert votes == unhex(case["votes"])
    replies = run.unmask(case["sum"], votes, masked)
    assert replies == unhex(case["replies"])
    assert run.combine(case["sum"], masked, transcript, replies).tolist() == case["total"]


def test_total_of_the_vectors_is_the_plain_sum(case):
    columns = zip(*(case["updates"][name] for name in case["masked"]), strict=True)
    assert [sum(column) for column in columns] == case["total"]


def test_coordinator_opens_the_recorded_messages(case):
    width = np.uint64 if case["bits"] == 64 else np.uint32
    masked = {
        name: np.array([int(v) for v in each], width) for name, each in case["masked"].items()
    }
    total = collector.combine(
        unhex(case["bundles"]),
        case["roster"],
        case["sum"],
        masked,
        bytes.fromhex(case["transcript"]),
        unhex(case["replies"]),
    )
    assert total.tolist() == case["total"]


# --- the oracle -------------------------------------------------------------------------------


def ladder(scalar, point):
    """RFC 7748, section 5: X25519."""
    k = bytearray(scalar)
    k[0] &= 248
    k[31] = (k[31] & 127) | 64
    k = int.from_bytes(k, "little")
    x1 = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        x3, z3 = (da + cb) ** 2 % CURVE, x1 * (da - cb) ** 2 % CURVE
        x2, z2 = aa * bb % CURVE, (aa - bb) * (aa + 121665 * (aa - bb)) % CURVE
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, -1, CURVE) % CURVE).to_bytes(32, "little")


def hkdf(secret, info):
    """RFC 5869 with SHA-256, no salt, 32 bytes."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def counter_stream(key, length):
    """NIST SP 800-38A, section 6.5: the cipher of 0, 1, 2, …"""
    blocks = b"".join(i.to_bytes(16, "big") for i in range(-(-length // 16)))
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)[:length]


def canonical(value):
    return cbor2.dumps(value, canonical=True)


def sha(*parts):
    return hashlib.sha256(canonical(list(parts))).digest()


def test_ladder_gives_the_result_of_rfc_7748():
    # RFC 7748, section 5.2, first vector.
    scalar = "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"
    point = "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"
    result = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert ladder(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == result
    assert masks.agree(bytes.fromhex(scalar), bytes.fromhex(point), member="x").hex() == result


def test_keystream_is_aes_256_of_the_counter():
    # NIST's AES-GCM test case 13 (key of zeros): the hash key E(0) and E(1), which masks its tag.
    stream = masks.keystream(bytes(32), 32).hex()
    assert stream == "dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738b"
    assert counter_stream(bytes(32), 32).hex() == stream


def test_oracle_makes_the_masked_values_again(case):
    protocol, t = "fedmkt/v1/secure_sum", case["sum"]
    bundles = {name: hashlib.sha256(each).digest() for name, each in unhex(case["bundles"]).items()}
    keys = sha(protocol, "keys", case["run"], bundles)
    circle = sha(protocol, "circle", case["run"], case["roster"])
    binding = [case["run"], t, keys, circle]
    size = case["bits"] // 8
    for name, expected in case["masked"].items():
        own = case["secrets"][name]
        values = list(case["updates"][name])

        def add(secret, label, names, sign, values=values):
            key = hkdf(secret, canonical([f"{protocol}.{label}", [*binding, *names]]))
            stream = counter_stream(key, size * len(values))
            for i in range(len(values)):
                values[i] += sign * int.from_bytes(stream[size * i : size * (i + 1)], "little")

        add(bytes.fromhex(own["seeds"][t]), "self", [name], 1)
        for other in case["roster"]:
            if other != name:
                base = ladder(
                    bytes.fromhex(case["secrets"][other]["masks"][t]), b"\x09" + bytes(31)
                )
                shared = ladder(bytes.fromhex(own["masks"][t]), base)
                add(shared, "pair", sorted((name, other)), 1 if name < other else -1)
        assert [str(value % 2 ** case["bits"]) for value in values] == expected


def test_oracle_finds_the_secrets_in_the_recorded_shares(case):
    replies = {name: cbor2.loads(each) for name, each in unhex(case["replies"]).items()}
    for kind, secret in (("seed_shares", "seeds"), ("key_shares", "masks")):
        for owner in next(iter(replies.values()))[kind]:
            total = 0
            points = {1 + case["roster"].index(name): reply for name, reply in replies.items()}
            for x, reply in points.items():
                weight = 1
                for other in points:
                    if other != x:
                        weight = weight * other * pow(other - x, PRIME - 2, PRIME) % PRIME
                total += weight * int.from_bytes(reply[kind][owner], "big")
            expected = case["secrets"][owner][secret][case["sum"]]
            assert (total % PRIME).to_bytes(32, "big").hex() == expected


def gmac(key, data):
    """NIST SP 800-38D with no plaintext and a nonce of zeros: GHASH of the data, then one block."""
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    hash_key = int.from_bytes(ecb.update(bytes(16)), "big")
    padded = data + bytes(-len(data) % 16) + (8 * len(data)).to_bytes(8, "big") + bytes(8)
    state = 0
    for at in range(0, len(padded), 16):
        x, y, state = state ^ int.from_bytes(padded[at : at + 16], "big"), hash_key, 0
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                state ^= y
            y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return (state ^ int.from_bytes(ecb.update(bytes(15) + b"\x01"), "big")).to_bytes(16, "big")


def test_oracle_makes_the_fingerprints_again(case):
    stated = messages.parse_transcript(bytes.fromhex(case["transcript"]))
    key = sha("fedmkt/v1/secure_sum", "masked", case["bits"])
    expected = [
        gmac(key, b"".join(int(v).to_bytes(case["bits"] // 8, "little") for v in values))
        for _, values in sorted(case["masked"].items())
    ]
    assert list(stated.fingerprints) == expected


def test_fingerprint_tells_lengths_widths_and_every_bit_apart():
    zeros = [np.zeros(4, np.uint64), np.zeros(8, np.uint32), np.zeros(5, np.uint64)]
    flipped = [np.array([0, 1 << bit, 0, 0], np.uint64) for bit in range(64)]
    prints = {messages.fingerprint(each) for each in [*zeros, *flipped]}
    assert len(prints) == 3 + 64


def test_fingerprint_does_not_depend_on_how_values_lie_in_memory():
    values = np.arange(8, dtype=np.uint64)
    spread = np.repeat(values, 2)[::2]
    assert messages.fingerprint(spread) == messages.fingerprint(values)
    assert messages.fingerprint(values.astype(">u8")) == messages.fingerprint(values)
