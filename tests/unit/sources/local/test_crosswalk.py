"""Values of a label raster become classes, and those that no class takes are listed."""

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import LabelError
from pipeline.sources.local.crosswalk import check_mapped, count_keys, value_key


@pytest.mark.parametrize(("value", "key"), [
    (None, ""), (float("nan"), ""), ("", ""), (1, "1"), (1.0, "1"), (1.5, "1.5"),
    (pd.NA, ""), (pd.NaT, ""), (np.float32("nan"), ""), (np.float32(2), "2"), ([1, 2], "[1, 2]"),
    (np.float64(4), "4"), (np.int64(7), "7"), ("bare soil", "bare soil"), ("1.0", "1.0"),
])
def test_keys(value: object, key: str) -> None:
    assert value_key(value) == key


def test_all_values_mapped_is_silent() -> None:
    check_mapped(count_keys(["a", "b", "a"]), {"a": "x", "b": "ignore"}, "labels f", "classes")


def test_unmapped_values_are_listed_with_counts_and_remedy() -> None:
    with pytest.raises(LabelError) as caught:
        check_mapped(count_keys(["a", "", "", "lake"]), {"a": "x"}, "labels f, column 'c'", "labels.classes")
    assert str(caught.value) == ("labels f, column 'c': every value must be mapped to a class or to 'ignore', but "
                                 "'' (2 times), 'lake' (1 times) are not; add to labels.classes")


def test_a_mapping_without_effect_warns() -> None:
    with pytest.warns(UserWarning, match=r"classes maps values that do not occur in labels f: \['z'\]"):
        check_mapped({"a": 1}, {"a": "x", "z": "y"}, "labels f", "classes")
