"""Signatures: exactly these bytes, this key, no network; each way of being wrong is named."""

import base64
import json
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.digests import file_sha256, folder_digests
from pipeline.errors import IntegrityError
from pipeline.lineage import signing
from pipeline.paths import Paths, write_json
from tests.unit.lineage.files import flip

PROVENANCE = "c0ffee123456" + "0" * 52


def statement(folder: Path, provenance: str = PROVENANCE) -> dict[str, Any]:
    """The least that is a lineage.json over what the folder holds."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in folder_digests(folder).items()],
        "predicate": {
            "buildDefinition": {"buildType": "urn:kumulus:export:1", "externalParameters": {"params": {"seed": 1}},
                                "internalParameters": {}, "resolvedDependencies": []},
            "runDetails": {"builder": {"id": "urn:kumulus"}, "metadata": {
                "finishedOn": "2026-01-01T00:00:00+00:00",
                "kumulus": {"provenance": {"sha256": provenance}, "run": {"key": "k"}}}},
        },
    }


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise AssertionError("signing reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv(signing.PASSPHRASE, raising=False)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "repository/models/export"
    (folder / "maps").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"onnx" * 500)
    (folder / "maps/x_class.tif").write_bytes(b"II*\x00" + bytes(64))
    (folder / ".gitignore").write_text("maps\n")  # the library leaves git's files out unless told otherwise
    write_json(folder / "lineage.json", statement(folder))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    private = tmp_path / "keys/own.pem"
    return private, signing.new_key(private)


@pytest.fixture
def signature(export: Path, pair: tuple[Path, Path], tmp_path: Path) -> Path:
    return signing.sign(export, pair[0], paths=Paths(tmp_path / "repository")).file


def test_signature_lies_outside_of_the_export_and_covers_every_file(
    export: Path, pair: tuple[Path, Path], signature: Path, tmp_path: Path
) -> None:
    assert signature == tmp_path / "repository/signatures/c0ffee123456.sig"
    assert not list(signature.parent.glob(".*"))
    found = signing.check_signature(export, signature, pair[1])
    assert found.verdict == "verified"
    assert found.message == "signature valid, over exactly these 4 files"


def test_the_librarys_own_command_accepts_it(export: Path, pair: tuple[Path, Path], signature: Path) -> None:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(export), "--signature", str(signature),
               "--public_key", str(pair[1]), "--no-ignore-git-paths"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    flip(export / "model.onnx")
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode != 0


def test_one_flipped_bit_is_named(export: Path, pair: tuple[Path, Path], signature: Path) -> None:
    before = file_sha256(export / "maps/x_class.tif")
    flip(export / "maps/x_class.tif")
    found = signing.check_signature(export, signature, pair[1])
    assert (found.verdict, found.expected) == ("contradicted", before)
    assert found.found == file_sha256(export / "maps/x_class.tif")
    assert found.message.endswith("; changed: maps/x_class.tif")


@pytest.mark.parametrize("name", ["extra.txt", ".git/hook", "maps/.gitattributes"])
def test_an_added_file_is_named(export: Path, pair: tuple[Path, Path], signature: Path, name: str) -> None:
    (export / name).parent.mkdir(exist_ok=True)
    (export / name).write_text("x")
    found = signing.check_signature(export, signature, pair[1])
    assert found.verdict == "contradicted"
    assert found.message.endswith(f"; added: {name}")


@pytest.mark.parametrize("name", ["model.onnx", ".gitignore"])
def test_a_missing_file_is_named(export: Path, pair: tuple[Path, Path], signature: Path, name: str) -> None:
    (export / name).unlink()
    found = signing.check_signature(export, signature, pair[1])
    assert found.verdict == "contradicted"
    assert found.message.endswith(f"; missing: {name}")


def test_a_foreign_key_is_told_from_changed_bytes(
    export: Path, pair: tuple[Path, Path], signature: Path, tmp_path: Path
) -> None:
    other = signing.new_key(tmp_path / "other.pem")
    found = signing.check_signature(export, signature, other)
    assert found.verdict == "contradicted"
    assert "was made with another key" in found.message
    assert found.expected != found.found


def test_claiming_another_key_does_not_help(
    export: Path, pair: tuple[Path, Path], signature: Path, tmp_path: Path
) -> None:
    other = signing.new_key(tmp_path / "other.pem")
    bundle = json.loads(signature.read_text())
    bundle["verificationMaterial"]["publicKey"]["hint"] = signing.check_signature(export, signature, other).expected
    signature.write_text(json.dumps(bundle))
    found = signing.check_signature(export, signature, other)
    assert found.verdict == "contradicted"
    assert "was altered" in found.message


def test_a_signature_rewritten_for_other_bytes_is_not_genuine(
    export: Path, pair: tuple[Path, Path], signature: Path
) -> None:
    before = file_sha256(export / "model.onnx")
    flip(export / "model.onnx")
    bundle = json.loads(signature.read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).decode()
    assert before in payload
    forged = payload.replace(before, file_sha256(export / "model.onnx"))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(forged.encode()).decode()
    signature.write_text(json.dumps(bundle))
    found = signing.check_signature(export, signature, pair[1])
    assert found.verdict == "contradicted"
    assert "was altered" in found.message


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b"[1]", b'{"verificationMaterial": {"publicKey": {"hint": ""}}}'])
def test_what_is_no_signature_is_refused(
    export: Path, pair: tuple[Path, Path], signature: Path, content: bytes
) -> None:
    signature.write_bytes(content)
    found = signing.check_signature(export, signature, pair[1])
    assert found.verdict == "contradicted"
    assert "must be a signature" in found.message


def test_no_signature_is_absent_rather_than_wrong(export: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert signing.check_signature(export, tmp_path / "none.sig", pair[1]).verdict == "absent"


def test_one_file_alone_is_checked_against_what_was_signed(
    export: Path, pair: tuple[Path, Path], signature: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "elsewhere/renamed.tif"
    alone.parent.mkdir()
    shutil.copyfile(export / "maps/x_class.tif", alone)
    found = signing.check_signature(alone, signature, pair[1])
    assert (found.verdict, found.message) == ("verified", "signature valid, and renamed.tif is its maps/x_class.tif")
    flip(alone)
    assert signing.check_signature(alone, signature, pair[1], "maps/x_class.tif").verdict == "contradicted"
    assert "no file of that name" in signing.check_signature(alone, signature, pair[1]).message
    # The bytes of another signed file do not stand for the file of that name.
    shutil.copyfile(export / "model.onnx", alone)
    assert signing.check_signature(alone, signature, pair[1], "maps/x_class.tif").verdict == "contradicted"


def test_signature_handed_on_with_the_files_is_found_and_not_counted_as_one(
    export: Path, pair: tuple[Path, Path], signature: Path, tmp_path: Path
) -> None:
    here = Paths(tmp_path / "nowhere")
    assert signing.find_signature(PROVENANCE, export, here) is None
    assert signing.find_signature("", export, here) is None
    inside = export / signature.name
    shutil.move(signature, inside)
    assert signing.find_signature(PROVENANCE, export / "model.onnx", here) == inside
    assert signing.check_signature(export, inside, pair[1]).verdict == "verified"


def test_key_is_for_its_owner_and_replaces_none(tmp_path: Path) -> None:
    private = tmp_path / "a.pem"
    public = signing.new_key(private)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    with pytest.raises(IntegrityError, match="must not exist"):
        signing.new_key(private)
    private.unlink()
    with pytest.raises(IntegrityError, match=r"a\.pub must not exist"):
        signing.new_key(private)


def test_passphrase_protects_the_key(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing.PASSPHRASE, "three words long")
    private = tmp_path / "a.pem"
    public = signing.new_key(private)
    assert b"ENCRYPTED" in private.read_bytes()
    made = signing.sign(export, private, tmp_path / "a.sig")
    assert signing.check_signature(export, made.file, public).verdict == "verified"
    monkeypatch.delenv(signing.PASSPHRASE)
    with pytest.raises(IntegrityError, match=f"its passphrase in {signing.PASSPHRASE}"):
        signing.sign(export, private, tmp_path / "b.sig")


def test_only_an_export_that_is_what_it_says_is_signed(export: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "a.sig"
    with pytest.raises(IntegrityError, match="must lie outside"):
        signing.sign(export, pair[0], export / "a.sig")
    (export / "extra").write_text("x")
    with pytest.raises(IntegrityError, match=r"exactly the files its lineage\.json names.*: extra differ"):
        signing.sign(export, pair[0], out)
    (export / "extra").unlink()
    flip(export / "model.onnx")
    with pytest.raises(IntegrityError, match=r"model\.onnx differ"):
        signing.sign(export, pair[0], out)
    (export / "lineage.json").unlink()
    with pytest.raises(IntegrityError, match=r"lineage\.json: not found"):
        signing.sign(export, pair[0], out)
    assert not out.exists()


def test_an_export_without_provenance_is_not_signed(export: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    (export / "lineage.json").unlink()
    write_json(export / "lineage.json", statement(export, provenance=""))
    with pytest.raises(IntegrityError, match="must name a provenance"):
        signing.sign(export, pair[0], tmp_path / "a.sig")


def test_other_keys_are_refused(export: Path, pair: tuple[Path, Path], signature: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    for key, name in ((rsa.generate_private_key(65537, 2048), "RSAPrivateKey"),
                      (ec.generate_private_key(ec.SECP256K1()), "secp256k1")):
        file = tmp_path / "other.pem"
        file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
        with pytest.raises(IntegrityError, match=f"private key on P-256: got .*{name}"):
            signing.sign(export, file, tmp_path / "a.sig")
        file.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM,
                                                       serialization.PublicFormat.SubjectPublicKeyInfo))
        with pytest.raises(IntegrityError, match="public key on P-256"):
            signing.check_signature(export, signature, file)
    with pytest.raises(IntegrityError, match="must be a private key in PEM"):
        signing.sign(export, pair[1], tmp_path / "a.sig")
    with pytest.raises(IntegrityError, match="must be a public key in PEM"):
        signing.check_signature(export, signature, pair[0])


def test_a_link_to_nowhere_is_an_error_not_a_verdict(export: Path, pair: tuple[Path, Path], signature: Path) -> None:
    (export / "gone").symlink_to("nowhere")
    with pytest.raises(IntegrityError, match="must be readable"):
        signing.check_signature(export, signature, pair[1])


def test_a_private_key_is_not_written_over_by_its_public_half(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"the two would be one file; name it \.pem"):
        signing.new_key(tmp_path / "own.pub")
    assert not list(tmp_path.iterdir())


def test_places_where_nothing_can_be_written_are_said_in_one_line(
    export: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IntegrityError, match="a place where a key can be written"):
        signing.new_key(tmp_path / "file/own.pem")
    with pytest.raises(IntegrityError, match="a place where a signature can be written"):
        signing.sign(export, pair[0], tmp_path / "file/x.sig", Paths(tmp_path / "repository"))
