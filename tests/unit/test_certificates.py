"""Certificates: made, renewed and brought along, so that a strict partner takes them."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fedmkt.core.errors import FileMissing, KeyLocked, SettingInvalid
from fedmkt.deployment import certificates
from fedmkt.deployment.certificates import (
    read_certificate,
    reencrypted_authority,
    renew_certificate,
    write_certificates,
)

PASSPHRASE, OTHER = b"correct horse battery staple", b"another good passphrase"


def shaken(folder: Path, host: str) -> None:
    """Let a client that checks strictly, as Python 3.13 does, meet the server. Raises: SSLError."""
    ours = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    ours.verify_flags |= ssl.VERIFY_X509_STRICT
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(folder / "server.pem", folder / "server.key")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(down, up, server_hostname=host)
    server = theirs.wrap_bio(up, down, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for one in {client, server} - done:
            try:
                one.do_handshake()
                done.add(one)
            except ssl.SSLWantReadError:
                continue
    assert done == {client, server}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "hub.example"])
def test_a_strict_client_takes_the_certificate_for_its_host_alone(
    tmp_path: Path, host: str
) -> None:
    write_certificates(tmp_path, host)
    shaken(tmp_path, host)
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(tmp_path, "other.example")


def test_the_authority_lives_five_years_and_the_server_397_days(tmp_path: Path) -> None:
    write_certificates(tmp_path, "hub.example")
    for name, days in (("ca.crt", 5 * 365), ("server.pem", 397)):
        found = x509.load_pem_x509_certificate((tmp_path / name).read_bytes())
        left = found.not_valid_after_utc - datetime.now(UTC)
        assert timedelta(days=days) - timedelta(minutes=5) < left <= timedelta(days=days)


def test_private_keys_are_private_and_the_authoritys_is_kept_encrypted_or_not_at_all(
    tmp_path: Path,
) -> None:
    write_certificates(tmp_path / "one", "hub.example")
    assert not (tmp_path / "one" / "ca.key").exists()
    write_certificates(tmp_path / "two", "hub.example", passphrase=PASSPHRASE)
    for name in ("server.key", "ca.key"):
        assert stat.S_IMODE((tmp_path / "two" / name).stat().st_mode) == 0o600
    assert b"ENCRYPTED" in (tmp_path / "two" / "ca.key").read_bytes()


def test_a_renewed_certificate_is_taken_by_who_knows_the_authority(tmp_path: Path) -> None:
    write_certificates(tmp_path, "hub.example", passphrase=PASSPHRASE)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    renew_certificate(tmp_path, "hub.example", PASSPHRASE)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"server.pem", "server.key"}
    shaken(tmp_path, "hub.example")


def test_an_authority_is_opened_by_its_passphrase_alone(tmp_path: Path) -> None:
    write_certificates(tmp_path, "hub.example", passphrase=PASSPHRASE)
    with pytest.raises(KeyLocked, match="wrong"):
        renew_certificate(tmp_path, "hub.example", OTHER)
    (tmp_path / "ca.key").write_bytes(reencrypted_authority(tmp_path, PASSPHRASE, OTHER))
    renew_certificate(tmp_path, "hub.example", OTHER)
    with pytest.raises(KeyLocked, match="wrong"):
        renew_certificate(tmp_path, "hub.example", PASSPHRASE)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(FileMissing, match="brought along"):
        renew_certificate(tmp_path, "hub.example", OTHER)


def chain(folder: Path, host: str = "hub.example") -> Path:
    """Return server and root certificate in one file."""
    write_certificates(folder, host)
    path = folder / "chain.pem"
    path.write_bytes((folder / "server.pem").read_bytes() + (folder / "ca.crt").read_bytes())
    return path


def test_a_certificate_that_was_brought_along_is_taken_whole(tmp_path: Path) -> None:
    brought = read_certificate(chain(tmp_path), tmp_path / "server.key", "hub.example")
    brought.write(tmp_path / "home")
    shaken(tmp_path / "home", "hub.example")
    assert stat.S_IMODE((tmp_path / "home" / "server.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in repr(brought)


def test_a_certificate_that_partners_would_not_take_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, key = chain(tmp_path / "good"), tmp_path / "good" / "server.key"
    chain(tmp_path / "other")
    (tmp_path / "rubbish").write_text("rubbish")

    def refused(words: str, file: Path, secret: Path = key, host: str = "hub.example") -> None:
        with pytest.raises(SettingInvalid, match=words):
            read_certificate(file, secret, host)

    refused("does not name other.example", good, host="other.example")
    refused("cannot be read as certificates", tmp_path / "rubbish")
    refused("cannot be read as a private key", good, tmp_path / "rubbish")
    refused("not the key of the certificate", good, tmp_path / "other" / "server.key")
    refused("does not end in the authority", tmp_path / "good" / "server.pem")
    swapped = tmp_path / "swapped.pem"
    root = tmp_path / "other" / "ca.crt"
    swapped.write_bytes((tmp_path / "good" / "server.pem").read_bytes() + root.read_bytes())
    refused("does not end in the authority", swapped)
    monkeypatch.setattr(certificates, "_SERVER_LIFE", timedelta(seconds=0))
    refused("has expired", chain(tmp_path / "old"), tmp_path / "old" / "server.key")
    with pytest.raises(FileMissing, match="Give the path"):
        read_certificate(tmp_path / "nowhere", key, "hub.example")
