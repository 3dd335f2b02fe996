"""What `acquire.local` may say: the user's scenes, labels and reference, each with all that files leave unsaid."""

import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.params.base import Section


def _is_time(text: str) -> bool:
    """Whether a text is a date, a date and time, a month or a year of ISO 8601."""
    months = re.fullmatch(r"\d{4}(-\d{2})?", text)
    try:
        datetime.fromisoformat(f"{text}-01" if months and months[1] else f"{text}-01-01" if months else text)
    except ValueError:
        return False
    return True


class SceneMask(Section):
    """Pixels to leave out of a scene, such as clouds: those where a raster of classes has one of `values`."""

    #: The raster; "" takes the scene classification (SCL) of a Sentinel-2 product.
    path: str = ""
    #: Values that are left out, such as [3, 8, 9, 10] of SCL: cloud shadow, clouds, cirrus; [] leaves nothing out.
    values: tuple[int, ...] = ()
    #: How far around them pixels are left out too, in metres on the ground.
    dilate_m: float = Field(default=0.0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _says_what(self) -> "SceneMask":
        if not self.values and (self.path or self.dilate_m):
            raise ValueError("a scene's mask must name the values that are left out: got values []; set mask.values, "
                             "such as [3, 8, 9, 10] for Sentinel-2's SCL")
        return self


class LocalScene(Section):
    """A raster that GDAL opens, a folder of single-band files, or a Sentinel-2 SAFE folder."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    path: str = Field(min_length=1)
    #: One file: names of all bands in file order; [] takes the band descriptions. A folder or SAFE: the bands to take
    #: out of it, in this order; [] takes all.
    bands: tuple[str, ...] = ()
    #: A folder: band name -> file in it; {} names files by their stems, with Sentinel-2's B02 as blue and so on.
    files: dict[str, str] = {}
    #: The band whose grid the scene takes; needed where the bands' grids differ.
    grid: str = ""
    #: How bands come to that grid.
    resampling: Literal["nearest", "bilinear"] = "bilinear"
    #: Band name -> co-registered raster of one band (elevation, slope), brought to the scene's grid by bilinear.
    extra: dict[str, str] = {}
    #: Overrides a missing CRS, such as "EPSG:32636"; "" trusts the file.
    crs: str = ""
    #: Value that means no data, besides NaN and +-3.4e38; null trusts the file.
    nodata: float | None = None
    #: Pixels of 0 in every band where no nodata value is declared that pixels can have (NaN and +-3.4e38 are none):
    #: data, no data, or refuse a scene that has many at its edge.
    zeros: Literal["refuse", "nodata", "data"] = "refuse"
    #: reflectance = (pixel + offset) / quantification, and 0 is nodata in each band by itself unless zeros are data.
    #: Quantification 0 leaves pixels as they are; a SAFE folder brings its own of both.
    offset: float = 0.0
    quantification: float = Field(default=0.0, ge=0)
    #: Reflectance at the top (L1C) or the bottom of the atmosphere (L2A); "" does not say. SAFE folders say it.
    level: Literal["", "L1C", "L2A"] = ""
    mask: SceneMask = SceneMask()
    #: Acquisition time, ISO 8601, for the records: 2022-07-01T10:06:11Z, 2022-07-01, 2022-07, 2022, or two of them with
    #: a slash between; "" takes a SAFE folder's own.
    time: str = ""
    licence: str = ""

    @field_validator("time")
    @classmethod
    def _iso(cls, value: str) -> str:
        if value and not all(map(_is_time, value.split("/", 1))):
            raise ValueError("a scene's time must be ISO 8601, such as 2022-07-01T10:06:11Z or 2022-07-01, or two of "
                             f"them with a slash between: got {value!r}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "LocalScene":
        if self.offset and not self.quantification:
            raise ValueError(f"scene {self.id} must have a quantification where it has an offset: got offset "
                             f"{self.offset:g} and none; reflectance is (pixel + offset) / quantification")
        for name, file in self.files.items():
            if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts or not file:
                raise ValueError(f"scene {self.id} must name files inside its folder {self.path}: files[{name!r}] is "
                                 f"{file!r}; give the path relative to the folder")
        if self.files and self.bands:
            raise ValueError(f"scene {self.id} must name its bands once: it has both bands and files; leave bands out, "
                             "files says which and in what order")
        if repeated := sorted({b for b in self.bands if self.bands.count(b) > 1}):
            raise ValueError(f"scene {self.id} must have bands with different names: {repeated} occur twice; "
                             "rename one")
        return self


class VectorParams(Section):
    """A file with a class at each place: polygons, points with a radius, or a raster of classes."""

    path: str = ""
    #: Layer name; "" takes the only layer. Not for rasters.
    layer: str = ""
    #: Overrides a missing CRS, such as "EPSG:4326"; "" trusts the file.
    crs: str = ""
    #: Not for rasters, whose pixels are the values.
    class_column: str = "class"
    #: Values -> class names; "ignore" declares ground of unknown class.
    classes: dict[str, str] = {}
    #: Points stand for circles of this radius in metres on the ground; 0 refuses points.
    radius_m: float = Field(default=0.0, ge=0, le=100_000)
    #: Where polygons overlap, the class named first wins; classes not named lie below them. [] lets the later feature
    #: in the file win.
    priority: tuple[str, ...] = ()
    licence: str = ""

    @model_validator(mode="after")
    def _named_once(self) -> "VectorParams":
        if repeated := sorted({c for c in self.priority if self.priority.count(c) > 1}):
            raise ValueError(f"priority must name each class once: {repeated} occur twice; remove one")
        return self


class LocalLabels(VectorParams):
    """Labels in any format GDAL or GeoParquet has, and any CRS."""


class LocalReference(VectorParams):
    """Independent truth. Refinement never touches it; "ignore" leaves ground unscored."""


class LocalParams(Section):
    """The user's own files."""

    scenes: tuple[LocalScene, ...] = ()
    labels: LocalLabels = LocalLabels()
    reference: LocalReference = LocalReference()

    def paths(self) -> list[str]:
        """Every path that is named."""
        named = [p for s in self.scenes for p in (s.path, s.mask.path, *s.extra.values())]
        return [p for p in (*named, self.labels.path, self.reference.path) if p]
