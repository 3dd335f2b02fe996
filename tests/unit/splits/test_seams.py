"""Seams between abutting scenes are counted; dates of one footprint have none."""

import geopandas as gpd
import pytest
from shapely.geometry import box

from pipeline.splits.seams import count_seams


def blocks(*rows: tuple[str, int, str, float]) -> gpd.GeoDataFrame:
    """Blocks of 100 m by scene, place, part and left edge."""
    columns = {"scene": [r[0] for r in rows], "place": [r[1] for r in rows], "part": [r[2] for r in rows]}
    left = [700_000 + r[3] for r in rows]
    return gpd.GeoDataFrame(columns, geometry=[box(x, 9_310_000, x + 100, 9_310_100) for x in left], crs="EPSG:32748")


ABUTTING = (("west", 0, "val", 0.0), ("west", 1, "train", 100.0),
            ("east", 2, "test", 230.0), ("east", 3, "train", 330.0))


def test_a_train_block_beside_held_out_ground_of_another_scene_is_a_seam() -> None:
    with pytest.warns(UserWarning, match=r"buffer_m=50 does not reach across scenes: 1 pairs"):
        assert count_seams(blocks(*ABUTTING), 50) == 1


def test_beyond_the_buffer_or_without_one_there_is_none() -> None:
    assert count_seams(blocks(*ABUTTING), 20) == 0
    assert count_seams(blocks(*ABUTTING), 0) == 0


def test_dates_of_one_footprint_have_none() -> None:
    dates = [(date, place, part, x) for date in ("may", "june")
             for place, part, x in ((0, "val", 0.0), (1, "train", 100.0))]
    assert count_seams(blocks(*dates), 50) == 0
