"""Detached signatures over an export: a local key vouches for exactly these files; no server has a part in it.

`model-signing` writes and checks them as a Sigstore bundle with an in-toto statement of every file's sha256, so its own
command (`model_signing verify key`) checks them too. Digests alone show that nothing changed by accident; a signature
also shows that nobody without the private key made the files anew.

DSSE envelope: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.digests import folder_digests
from pipeline.errors import IntegrityError
from pipeline.paths import Paths, staged_file
from pipeline.tracking import statement
from pipeline.tracking.names import STATEMENT_FILE as _STATEMENT_FILE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from model_signing.hashing import Config

#: Holds the passphrase of an encrypted private key.
PASSPHRASE = "KUMULUS_KEY_PASSPHRASE"

#: Where signatures are kept, relative to the repository; git keeps them, since what signs an out cannot lie in it.
FOLDER = "signatures"

#: NIST's P-256, P-384 and P-521, as `cryptography` names them: what model-signing takes.
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


@dataclass(frozen=True)
class Signed:
    """A signature that was made."""

    file: Path
    #: How many files it covers.
    count: int
    #: sha256 of the public key in PEM, by which a signature names its key.
    key: str


@dataclass(frozen=True)
class SignatureCheck:
    """What a signature says of a folder or a file; the fields are those of a link of `trace --verify`."""

    verdict: Literal["verified", "absent", "contradicted"]
    name: str
    place: str
    expected: str
    found: str
    message: str


def new_key(private: Path) -> Path:
    """Make a P-256 key pair: `private` in PEM for the owner's eyes only (0600), and the public key beside it.

    A passphrase in the environment variable KUMULUS_KEY_PASSPHRASE encrypts the private key.

    Returns:
        The public key's file, whose suffix is .pub.

    Raises:
        IntegrityError: one of the two files is there already, or both would be one.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public = private.with_suffix(".pub")
    if public == private:
        raise IntegrityError(f"{private} must be the private key, whose public half is called .pub: the two would be "
                             "one file; name it .pem")
    for file in (private, public):
        if file.exists():
            raise IntegrityError(f"{file} must not exist before a key is made: signatures of an earlier key may need "
                                 "it; name another file")
    key, secret = ec.generate_private_key(ec.SECP256R1()), _passphrase()
    encryption = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    try:
        private.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file_:
            file_.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
        public.write_bytes(_pem(key.public_key()))
    except OSError as error:
        raise IntegrityError(f"{private} must be a place where a key can be written: {error}; name another") from error
    return public


def default_place(provenance: str, paths: Paths) -> Path:
    """Where `kumulus sign` keeps the signature of the export with this provenance digest."""
    return paths.repository / FOLDER / f"{provenance[:12]}.sig"


def find_signature(provenance: str, target: Path, paths: Paths) -> Path | None:
    """The signature of an export: that of the repository, else one of that name beside or within `target`."""
    near = target if target.is_dir() else target.parent
    places = [default_place(provenance, paths), *(folder / name for folder in (near, near.parent)
                                                  for name in (f"{provenance[:12]}.sig",
                                                               f"{FOLDER}/{provenance[:12]}.sig"))]
    return next((place for place in places if provenance and place.is_file()), None)


def sign(folder: Path, key: Path, out: Path | None = None, paths: Paths | None = None) -> Signed:
    """Sign every file of an export with a private key; the signature lies outside of the folder.

    Args:
        folder: an export whose lineage.json names its files.
        key: private key on P-256 (or P-384, P-521) in PEM; KUMULUS_KEY_PASSPHRASE opens an encrypted one.
        out: the signature's file; signatures/<provenance digest>.sig of the repository by default.
        paths: where the repository is.

    Raises:
        IntegrityError: the folder does not hold what its lineage.json says, the key cannot sign, or `out` lies in
            the folder.
    """
    import model_signing

    provenance, files = _complete(folder)
    out = out or default_place(provenance, paths or Paths())
    if out.resolve().is_relative_to(folder.resolve()):
        raise IntegrityError(f"a signature must lie outside of what it signs: {out} is in {folder}; name another file")
    public, secret = _private_key(key).public_key(), _passphrase()
    config = model_signing.signing.Config().set_hashing_config(_exactly(lambda files: None))
    config.use_elliptic_key_signer(private_key=key, password=secret)  # type: ignore[arg-type]  # it hands on bytes
    try:
        with staged_file(out) as partial:
            config.sign(folder, partial)
    except OSError as error:
        raise IntegrityError(f"{out} must be a place where a signature can be written: {error}; name "
                             "another") from error
    return Signed(out, len(files), fingerprint(public))


def check_signature(target: Path, signature: Path, public_key: Path, name: str = "") -> SignatureCheck:
    """Whether `signature` was made with the private half of `public_key` over exactly these bytes.

    Args:
        target: an export, which must hold the signed files and no other; or one file, which must be among them.
        signature: a file that `kumulus sign` made.
        public_key: in PEM.
        name: of one file: its path within the export; without it, a signed file of equal bytes or name counts.

    Raises:
        IntegrityError: the target cannot be read, or `public_key` is no public key.
    """
    key = fingerprint(_public_key(public_key))
    if not signature.is_file():
        return _facts("absent", signature, key, "", f"{signature} must be the signature: not found; `kumulus sign` "
                                                    "makes one")
    try:
        signer, claimed = _read_bundle(signature)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return _facts("contradicted", signature, key, "", f"{signature} must be a signature as `kumulus sign` writes "
                                                          f"it: {type(error).__name__}: {error}")
    if signer != key:
        return _facts("contradicted", signature, key, signer,
                      f"{signature} was made with another key: {signer[:12]}, and {public_key} is {key[:12]}")
    actual = _hashed_if_genuine(target, signature, public_key)
    if actual is None:
        return _facts("contradicted", signature, key, signer,
                      f"{signature} was altered: its content is not what the private key of {public_key} signed")
    if target.is_dir():
        return _compare_folder(target, signature, claimed, actual)
    return _compare_file(target, signature, claimed, actual["."], name)


def fingerprint(key: "EllipticCurvePublicKey") -> str:
    """sha256 of a public key in PEM, by which model-signing names it."""
    return hashlib.sha256(_pem(key)).hexdigest()


def _compare_folder(folder: Path, signature: Path, claimed: Mapping[str, str],
                    actual: Mapping[str, str]) -> SignatureCheck:
    changed = sorted(name for name in claimed.keys() & actual.keys() if claimed[name] != actual[name])
    found = [f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
             for what, names in (("changed:", changed), ("added:", sorted(actual.keys() - claimed.keys())),
                                 ("missing:", sorted(claimed.keys() - actual.keys()))) if names]
    if not found:
        return _facts("verified", signature, f"{len(claimed)} files", f"{len(actual)} files",
                      f"signature valid, over exactly these {len(actual)} files")
    first = changed[0] if changed else ""
    return _facts("contradicted", signature, claimed.get(first, f"{len(claimed)} files"),
                  actual.get(first, f"{len(actual)} files"),
                  f"{signature} was made over other bytes than {folder} holds; {'; '.join(found)}")


def _compare_file(file: Path, signature: Path, claimed: Mapping[str, str], digest: str, name: str) -> SignatureCheck:
    of_equal_bytes = [known for known, other in claimed.items() if other == digest]
    of_equal_name = [known for known in claimed if Path(known).name == file.name]
    known = name or next(iter([*of_equal_bytes, *of_equal_name]), "")
    if claimed.get(known) == digest:
        return _facts("verified", signature, digest, digest, f"signature valid, and {file.name} is its {known}")
    said = f"its {known} has other bytes" if known in claimed else "it covers no file of that name or those bytes"
    return _facts("contradicted", signature, claimed.get(known, ""), digest,
                  f"{signature} does not vouch for {file}: {said}")


def _facts(verdict: Literal["verified", "absent", "contradicted"], signature: Path, expected: str, found: str,
           message: str) -> SignatureCheck:
    return SignatureCheck(verdict, "signature", str(signature), expected, found, message)


def _hashed_if_genuine(target: Path, signature: Path, public_key: Path) -> dict[str, str] | None:
    """{file: sha256} of the target ("." for a file); None where the signature is not genuine.

    The library checks the signature first and hashes only then, so bytes that were hashed mean a genuine signature.
    """
    import model_signing
    from cryptography.exceptions import InvalidSignature

    seen: dict[str, str] | None = None

    def remember(files: dict[str, str]) -> None:
        nonlocal seen
        seen = files

    hashing = _exactly(remember, [signature.resolve()])
    config = model_signing.verifying.Config().set_hashing_config(hashing)
    config.use_elliptic_key_verifier(public_key=public_key)
    try:
        config.verify(target.resolve(), signature)
    except (ValueError, InvalidSignature, KeyError, TypeError, IndexError):
        return seen
    return seen


def _exactly(remember: Callable[[dict[str, str]], None], leave_out: Sequence[Path] = ()) -> "Config":
    """The library's hashing of every file: those of git too, and those that a signature would leave out."""
    from model_signing import hashing

    class Exactly(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            try:
                manifest = super().hash(model_path)
            except (OSError, ValueError) as error:  # such as a link to nowhere
                raise IntegrityError(f"{model_path} must be readable to be compared with its signature: {error}; "
                                     "bring the file back or remove it") from error
            remember({item.identifier: item.digest.digest_hex for item in manifest.resource_descriptors()})
            return manifest

        def add_ignored_paths(self, *, model_path: Any, paths: Any) -> None:
            """A signature does not get to say what it leaves out."""

    config = Exactly()  # type: ignore[no-untyped-call]  # the library leaves its __init__ without types
    return config.set_ignored_paths(paths=leave_out, ignore_git_paths=False).set_allow_symlinks(True)


def _read_bundle(file: Path) -> tuple[str, dict[str, str]]:
    """(fingerprint of the key it names, {file: sha256} it covers); not authenticated."""
    bundle = json.loads(file.read_text(encoding="utf-8"))
    signer = bundle["verificationMaterial"]["publicKey"]["hint"]
    predicate = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"], validate=True))["predicate"]
    resources = predicate["resources"]
    if predicate["serialization"]["method"] != "files" or any(r["algorithm"] != "sha256" for r in resources):
        raise ValueError(f"it must cover whole files by sha256, not {predicate['serialization']}")
    if not isinstance(signer, str) or not signer:
        raise ValueError("it must name its key")
    return signer, {resource["name"]: resource["digest"] for resource in resources}


def _complete(folder: Path) -> tuple[str, dict[str, str]]:
    """(provenance digest, {file: sha256}) of an export that is what its lineage.json says."""
    said, actual = statement.read(folder / _STATEMENT_FILE), folder_digests(folder)
    expected = {**said.subjects, _STATEMENT_FILE: actual.get(_STATEMENT_FILE, "")}
    wrong = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    if wrong:
        raise IntegrityError(f"{folder} must hold exactly the files its lineage.json names before it is signed: "
                             f"{', '.join(wrong[:3])} differ; run `dvc repro export` or `dvc checkout`")
    if not said.provenance:
        raise IntegrityError(f"{folder} must name a provenance to be signed: its lineage.json has none; sign an export")
    return said.provenance, actual


def _private_key(file: Path) -> "EllipticCurvePrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(file.read_bytes(), _passphrase())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IntegrityError(f"{file} must be a private key in PEM, its passphrase in {PASSPHRASE} if it has one: "
                             f"{error}; `kumulus sign --new-key` makes one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise IntegrityError(f"{file} must be a private key on P-256: got {_named(key)}; `kumulus sign --new-key` "
                             "makes one")
    return key


def _public_key(file: Path) -> "EllipticCurvePublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise IntegrityError(f"{file} must be a public key in PEM: {error}; name the .pub file of the pair") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise IntegrityError(f"{file} must be a public key on P-256: got {_named(key)}; name the .pub file of the pair")
    return key


def _named(key: object) -> str:
    return f"{type(key).__name__} {getattr(getattr(key, 'curve', None), 'name', '')}".strip()


def _pem(key: "EllipticCurvePublicKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _passphrase() -> bytes | None:
    return os.environ.get(PASSPHRASE, "").encode() or None
