"""The form of lineage.json and provenance.json, checked once, before anything is made of what they say.

Whoever hands a file on may have written these: names lead to files that are looked for, digests to addresses in caches.
So names stay below their folder, digests are hexadecimal of their length, and nothing is there twice.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.params.dotted import value_at

#: In names and addresses no control character and no half of a surrogate pair; elsewhere a text may have lines.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
#: A generation of ancestors nests seven deep.
_DEEPEST = 400
_LONGEST_NAME, _LONGEST_PART = 1024, 255

SHA256 = re.compile(r"[0-9a-f]{64}")
MD5 = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
GIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")

#: Of params.yaml: what is read as an object, and as text.
_SECTIONS = ("acquire", "refine_labels", "rasterize", "spatial_split", "train", "evaluate", "export")
_OBJECTS, _TEXTS = ("train.warm_start", "train.network"), ("acquire.inputs", "train.warm_start.uri")


def read_json(data: bytes | str) -> Any:
    """What JSON says; NaN, a key that is there twice and endless nesting are none.

    Raises:
        IntegrityError: it is no JSON.
    """
    try:
        return json.loads(data, parse_constant=_refused, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise IntegrityError(f"it must be JSON: {reason[:200]}; take it from where it came anew") from error


def provenance_of(data: bytes) -> Mapping[str, Any] | None:
    """The content of a provenance.json; None where it is none."""
    try:
        raw = as_mapping("provenance.json", read_json(data))
        check_plain(raw)
        content = as_mapping("data", raw.get("data", {}))
        for name, files in (*_parts("data.files", content.get("files", {})), *_parts("code", raw.get("code", {}))):
            for file, digest in as_mapping(name, files).items():
                check_name(file, name)
                check_digest(f"{name}.{file}", digest, SHA256)
        catalog = as_mapping("data.catalog", content.get("catalog", {}))
        for entry in (*as_list("scenes", catalog.get("scenes", [])), *as_list("assets", catalog.get("assets", [])),
                      catalog.get("labels"), catalog.get("reference")):
            if entry is not None:
                for key, value in as_mapping("data.catalog", entry).items():
                    as_text(key, value) if key in ("file", "href", "licence", "sha256") else None
        for file, digest in as_mapping("evaluate", raw.get("evaluate", {})).items():
            check_name(file, "evaluate")
            check_digest(f"evaluate.{file}", digest, SHA256)
        for name in ("params", "environment", "warm_start"):
            as_mapping(name, raw.get(name, {}))
        check_params(raw.get("params", {}))
        for member, digest in raw.get("warm_start", {}).items():
            check_digest(f"warm_start.{member}", digest, SHA256)
        if raw.get("lock"):
            check_digest("lock", raw["lock"], SHA256)
    except IntegrityError:
        return None
    return raw


def check_plain(raw: Any) -> None:
    """Refuse what no file of Kumulus has: numbers without a value, control characters, endless nesting.

    Raises:
        IntegrityError: something in it is such.
    """
    rest = [(raw, 0)]
    while rest:
        value, depth = rest.pop()
        if depth > _DEEPEST:
            raise _wrong("it", f"be nested at most {_DEEPEST} deep", "deeper")
        if isinstance(value, Mapping):
            for key in value:
                as_line("a key", key)
            rest += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            rest += [(inner, depth + 1) for inner in value]
        elif isinstance(value, str) and _CONTROL_IN_TEXT.search(value):
            raise _wrong("a text", "have no control characters", value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise _wrong("a number", "be finite", value)


def check_params(params: Mapping[str, Any]) -> None:
    """Refuse params whose sections are no objects; which keys there are is the schema's matter."""
    for name in (*_SECTIONS, *_OBJECTS):
        value = value_at(params, name)
        if value is not None:
            as_mapping(f"params.{name}", value)
    for name in _TEXTS:
        value = value_at(params, name)
        if value is not None:
            as_line(f"params.{name}", value)


def check_environment(name: str, environment: Any) -> Mapping[str, Any]:
    """The environment of a stage as plain data.

    Raises:
        IntegrityError: it is no object, or its libraries or threads are none.
    """
    found = as_mapping(name, environment)
    as_mapping(f"{name}.libraries", found.get("libraries") or {})
    threads = found.get("threads", 0)
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 0):
        raise _wrong(f"{name}.threads", "be a count", threads)
    return found


def check_name(name: Any, what: str = "a name", root: str = "") -> str:
    """A path below the folder of the statement or the project, or below `root`, a path that params.yaml names.

    Raises:
        IntegrityError: it is no text, leads elsewhere, or no file could be called so.
    """
    text = as_line(what, name)
    inside = "." if root and text.rstrip("/") == root.rstrip("/") else text.removeprefix(f"{root.rstrip('/')}/")
    path = PurePosixPath(inside if root else text)
    if text.startswith("/") or path.is_absolute() or ".." in path.parts or not text:
        raise _wrong(what, "be a path below its folder", text)
    if len(text) > _LONGEST_NAME or any(len(part.encode()) > _LONGEST_PART for part in path.parts):
        raise _wrong(what, f"be a path of at most {_LONGEST_NAME} characters", f"{text[:40]}...")
    return text


def check_digest(what: str, value: Any, form: re.Pattern[str]) -> str:
    """A digest of its form.

    Raises:
        IntegrityError: it is none.
    """
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise _wrong(what, f"be a digest, {form.pattern}", value)
    return value


def check_key(what: str, value: Any) -> str:
    """The key of a training; "" where there is none."""
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or _KEY.fullmatch(value) is None:
        raise _wrong(what, "be a run's key", value)
    return value


def check_time(what: str, value: Any) -> str:
    """A moment in ISO 8601 with its offset from UTC."""
    try:
        moment = datetime.fromisoformat(as_line(what, value))
    except ValueError as error:
        raise _wrong(what, "be a time in ISO 8601", value) from error
    if moment.tzinfo is None:
        raise _wrong(what, "be a time with its offset from UTC", value)
    return str(value)


def as_mapping(what: str, value: Any) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, Mapping):
        raise _wrong(what, "be an object", value)
    return value


def as_list(what: str, value: Any) -> list[Any]:
    """A JSON list."""
    if not isinstance(value, list | tuple):
        raise _wrong(what, "be a list", value)
    return list(value)


def as_text(what: str, value: Any) -> str:
    """A text; "" for null."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(what, "be text", value)
    return value


def as_line(what: str, value: Any) -> str:
    """A text without control characters, such as ends of lines."""
    if not isinstance(value, str):
        raise _wrong(what, "be text", value)
    if _CONTROL.search(value):
        raise _wrong(what, "have no control characters", value)
    return value


def check_once(what: str, names: Iterable[str]) -> None:
    """Refuse a name that is there twice, of which a reader would take either."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _wrong(what, "be there once", f"{name} twice")
        seen.add(name)


def _parts(what: str, value: Any) -> list[tuple[str, Any]]:
    return [(f"{what}.{name}", inner) for name, inner in as_mapping(what, value).items()]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!a} is there twice")
    return found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _wrong(what: str, rule: str, value: Any) -> IntegrityError:
    shown = ascii(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return IntegrityError(f"{what} must {rule}: got {shown[:80]}; take it from where it came anew")
