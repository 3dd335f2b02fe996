"""Where the buffer cannot reach: train blocks of one scene beside held-out blocks that only another scene shows.

The buffer is measured on each scene's own grid. Dates of one footprint share their blocks, so nothing is missed there;
abutting tiles have seams, which are counted and warned of. One mosaic (a VRT will do) has none.
"""

import warnings

import geopandas as gpd


def count_seams(frame: gpd.GeoDataFrame, buffer_m: float) -> int:
    """Pairs of a train block and a held-out block within `buffer_m` metres that no scene shows both of; warns if any.

    Args:
        frame: one row a block with columns scene, place, part and a geometry with CRS.
        buffer_m: the split's buffer.
    """
    if buffer_m == 0 or frame["scene"].nunique() < 2:
        return 0
    metric = frame.to_crs(frame.estimate_utm_crs())
    train, held_out = metric[metric["part"] == "train"], metric[metric["part"] != "train"]
    pairs = gpd.sjoin(train, held_out, predicate="dwithin", distance=buffer_m)
    places = frame.groupby("scene")["place"].agg(set)
    seams = sum(place not in places[scene]
                for scene, place in zip(pairs["scene_left"], pairs["place_right"], strict=True))
    if seams:
        warnings.warn(f"spatial_split.buffer_m={buffer_m:g} does not reach across scenes: {seams} pairs of train and "
                      "held-out blocks lie within it on different scenes; give abutting tiles as one mosaic (a VRT)",
                      stacklevel=2)
    return seams
