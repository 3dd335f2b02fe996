import numpy as np
import pandas as pd

from pipeline.reporting.label_figures import busiest_window, ledger_numbers
from pipeline.types import Window


def test_the_ledger_in_hectares_by_class_and_action() -> None:
    rows = [("s", "a", "town", "repaired", 20000.0, 30000.0), ("s", "a", "town", "carved", 30000.0, 10000.0),
            ("s", "b", "town", "dropped", 5000.0, 0.0), ("s", "a/i", "water", "added", 0.0, 20000.0)]
    columns = ["scene", "source_id", "class", "action", "area_before_m2", "area_after_m2"]
    numbers = ledger_numbers(pd.DataFrame(rows, columns=columns))
    assert numbers["actions"] == {"added": 1, "carved": 1, "dropped": 1, "repaired": 1}
    assert numbers["hectares"] == {
        "town": {"before": 2.5, "after": 1.0, "repaired": 1.0, "carved": -2.0, "dropped": -0.5},
        "water": {"before": 0.0, "after": 2.0, "added": 2.0}}


def test_the_busiest_window_lies_inside() -> None:
    changed = np.zeros((400, 500), dtype=np.bool_)
    changed[170:200, 330:340] = True
    assert busiest_window(changed) == Window(160, 320, 160, 160)
    assert busiest_window(np.zeros((40, 100), dtype=np.bool_)) == Window(0, 0, 40, 40)
