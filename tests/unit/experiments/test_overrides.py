"""Overrides bring params.yaml, in DVC's own hands, to exactly the values meant."""

from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.experiments.overrides import literal, words

OLD = "train:\n  lr: 1e-3   # rate\n  shares: {a: 0.5, b: 0.5}\n  names: [x, y]\n  uri: ''\n"


@pytest.mark.parametrize(("key", "value"), [
    ("train.lr", 3e-5), ("train.lr", 2), ("train.lr", None), ("train.on", True), ("train.new.deep.key", False),
    ("train.uri", "runs:/ab/c=d, {e} [f] 'g' \"h\" #i"), ("train.uri", "c:\\new\\"), ("train.uri", "a\\'b"),
    ("train.uri", ""), ("train.uri", "null"), ("train.uri", "1e-3"), ("train.uri", "true"), ("train.uri", "ä ö"),
    ("train.names", []), ("train.names", ["p", "q,r", 1.5]), ("train.rules", [{"target": "water", "above": 0.0}]),
    ("train.shares", {"b": 0.25, "c": 0.75}), ("train.shares", {}), ("train.fresh", {"a": 1}), ("train.fresh", {}),
    ("train.shares.a", 0.1),
])
def test_dvc_sets_what_is_meant(tmp_path: Path, key: str, value: Any) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(OLD, encoding="utf-8")
    expected: dict[str, Any] = YAML(typ="safe", pure=True).load(OLD)
    *parents, last = key.split(".")
    node: Any = expected
    for part in parents:
        node = node.setdefault(part, {})
    apply_overrides(file, words(key, node.get(last), value))
    node[last] = value
    assert YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")) == expected


def test_words_are_as_documented() -> None:
    assert words("a.b", 1, 2e-4) == ["++a.b=0.0002"]
    assert words("a.b", {"x": 1, "y": 2}, {"y": 3}) == ["~a.b.x", "++a.b.y=3"]


@pytest.mark.parametrize("value", [{"two words": 1}, [{"a b": 1}], object()])
def test_what_has_no_words_is_refused(value: Any) -> None:
    with pytest.raises(ParamsError, match=r"^a\.b must"):
        words("a.b", None, value)


def test_numbers_keep_every_digit() -> None:
    assert float(literal("a", 0.1 + 0.2)) == 0.1 + 0.2
