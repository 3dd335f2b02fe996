"""What vector files say of themselves beside their features."""

from pathlib import Path

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shapely.geometry import box

from pipeline.errors import LabelError
from pipeline.geo.file_tags import VectorTags, geopackage_tags, geoparquet_tags, is_geoparquet
from pipeline.geo.vector_io import write_geopackage


def test_a_geopackage_gives_the_tags_of_its_layers(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"a": [1, 2]}, geometry=[box(0, 0, 1, 1)] * 2, crs="EPSG:32748")
    write_geopackage(tmp_path / "a.gpkg", {"x": frame, "y": frame}, {"KEY": "value"})
    assert geopackage_tags(tmp_path / "a.gpkg") == VectorTags({"KEY": "value"}, ("x", "y"), 4)
    write_geopackage(tmp_path / "b.gpkg", {"x": frame})
    assert geopackage_tags(tmp_path / "b.gpkg").tags == {}


def test_a_parquet_gives_its_footer_without_arrows_schema(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2, 3]}).replace_schema_metadata({"KEY": "värde", "geo": '{"primary_column": "g"}'})
    pq.write_table(table, tmp_path / "a.parquet")
    found = geoparquet_tags(tmp_path / "a.parquet")
    assert found == VectorTags({"KEY": "värde", "geo": '{"primary_column": "g"}'}, (), 3)
    assert is_geoparquet(found.tags)


@pytest.mark.parametrize("tags", [{}, {"geo": "{"}, {"geo": "[]"}, {"geo": "{}"}])
def test_other_parquet_is_told_apart(tags: dict[str, str]) -> None:
    assert not is_geoparquet(tags)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gpkg").write_text("x")
    (tmp_path / "x.parquet").write_text("x")
    with pytest.raises(LabelError, match="must be a GeoPackage"):
        geopackage_tags(tmp_path / "x.gpkg")
    with pytest.raises(LabelError, match="must be readable as Parquet"):
        geoparquet_tags(tmp_path / "x.parquet")
    with pytest.raises(LabelError, match="must be readable as Parquet"):
        geoparquet_tags(tmp_path / "none.parquet")
