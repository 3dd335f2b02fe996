"""Params of label rules: what is refused, and what would have no effect."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.params.refine_labels import IndexRule, RefineParams


def rule(**changes: Any) -> IndexRule:
    return IndexRule.model_validate({"target": "water", "index": "NDWI", **changes})


OTSU = {"method": "otsu", "bounds": (-0.1, 0.3)}


@pytest.mark.parametrize(("changes", "words"), [
    ({}, "must have either above or below: got neither"),
    ({"above": 0, "below": 1}, "must have either above or below: got above and below"),
    ({"above": 0, "bounds": (0, 1)}, "bounds and otsu_side only with method: otsu: got method fixed"),
    ({"above": 0, "otsu_side": "below"}, "bounds and otsu_side only with method: otsu"),
    ({"method": "otsu"}, r"must have bounds, and neither.*got no bounds; write bounds: \[low, high\]"),
    ({**OTSU, "above": 0}, "neither above nor below, with method: otsu: got above"),
    ({**OTSU, "bounds": (0.3, 0.3)}, r"with low < high: got \[0.3, 0.3\]"),
    ({"above": 0, "action": "drop", "min_fraction": 0.5}, "must name the classes it drops in carve_from: got none"),
    ({"above": 0, "action": "drop", "carve_from": ["town"]}, "must have a min_fraction above 0 with action: drop"),
    ({"above": 0, "action": "burn"}, "'carve', 'drop' or 'keep'"),
    ({"above": 0, "min_fraction": 1.5}, "less than or equal to 1"),
])
def test_rules_that_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        rule(**changes)


def test_sides_and_thresholds() -> None:
    fixed = [(r.side, r.fixed_threshold) for r in (rule(above=0.2), rule(below=-0.1))]
    assert fixed == [("above", 0.2), ("below", -0.1)]
    assert [r.side for r in (rule(**OTSU), rule(**OTSU, otsu_side="below"))] == ["above", "below"]
    assert rule(**OTSU).declared_bounds == (-0.1, 0.3)
    with pytest.raises(ValueError, match="no fixed threshold: its method is otsu"):
        _ = rule(**OTSU).fixed_threshold
    with pytest.raises(ValueError, match="has no bounds: its method is fixed"):
        _ = rule(above=0).declared_bounds


@pytest.mark.parametrize(("changes", "words"), [
    ({"action": "keep", "min_fraction": 0.5}, "min_fraction have no effect"),
    ({"action": "keep", "becomes": "water"}, "becomes have no effect"),
])
def test_settings_without_effect_warn(changes: dict[str, Any], words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        rule(above=0, **changes)


def test_a_class_may_have_several_rules_by_different_indices() -> None:
    ndvi = {"target": "water", "index": "NDVI", "below": -0.2}
    assert len(RefineParams.model_validate({"rules": [rule(above=0), ndvi]}).rules) == 2
    with pytest.raises(ValidationError, match=r"their own index and target: got \['NDWI:water'\] twice"):
        RefineParams(rules=(rule(above=0), rule(below=1)))
