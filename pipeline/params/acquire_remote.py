"""Parts of section `acquire` that need a network: scenes of a STAC API, outlines of OpenStreetMap."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.params.base import Section
from pipeline.params.remote_values import check_bbox, check_no_password, check_path_fits, check_times
from pipeline.params.task import Task


class StacGrid(Section):
    """The grid that a scene's bands are brought to."""

    #: Such as "EPSG:32636"; "" keeps the assets' own CRS (a satellite's UTM zone).
    crs: str = ""
    #: Metres; 0 keeps the finest of the band assets, whose pixels then stay where they are.
    resolution_m: float = Field(default=0.0, ge=0)
    #: How assets of another grid are brought to this one; masks are always taken by the nearest pixel.
    resampling: Literal["nearest", "bilinear", "average"] = "bilinear"


class StacMask(Section):
    """A classification beside the bands whose clouds and shadows become nodata."""

    #: Asset key, such as scl; "" masks nothing.
    asset: str = ""
    #: Values that are left out, such as [3, 8, 9, 10] of SCL: cloud shadow, clouds, cirrus.
    values: tuple[int, ...] = ()
    #: How far around them pixels are left out too, in metres on the ground.
    dilate_m: float = Field(default=0.0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _says_what(self) -> "StacMask":
        if (self.asset or self.values or self.dilate_m) and not (self.asset and self.values):
            raise ValueError("acquire.stac.mask must have both an asset and the values that are left out: got asset "
                             f"{self.asset!r} and values {list(self.values)}; set both, or neither")
        return self


class Retrying(Section):
    """How often a failed request is repeated; the wait doubles from one time to the next."""

    times: int = Field(default=5, ge=0, le=20)
    wait_s: float = Field(default=1.0, ge=0, le=60)
    #: Of one request.
    timeout_s: float = Field(default=60.0, gt=0)


class StacParams(Section):
    """One search of a STAC API, and how its items become scenes."""

    #: Root of the API, whose landing page has a link to its search. Without user name and password: what needs them
    #: takes them from ~/.netrc.
    url: str = ""
    collections: tuple[str, ...] = ()
    #: The area: west, south, east, north in degrees, or else `aoi`, a vector file in acquire.inputs, by its bounds.
    bbox: tuple[float, ...] = ()
    aoi: str = ""
    #: Such as "2024-05-01/2024-06-30", one "2024-05-17" or "2024-05", or "../2024-05-17T12:00:00Z" without a start; ""
    #: is any time. Times without a zone are UTC.
    datetime: str = ""
    #: Percent, by each item's eo:cloud_cover; below 100, items that do not state it are left out.
    max_cloud_cover: float = Field(default=100.0, ge=0, le=100)
    #: Share of the area that an item's footprint must cover.
    min_cover: float = Field(default=0.9, ge=0, le=1)
    #: least_cloudy: each of the `scenes` least cloudy items is a scene. median: one scene, their median by pixel.
    choice: Literal["least_cloudy", "median"] = "least_cloudy"
    scenes: int = Field(default=1, ge=1, le=50)
    #: Band name -> asset key, or "key#2" for the second band of an asset.
    bands: dict[str, str] = {}
    grid: StacGrid = StacGrid()
    mask: StacMask = StacMask()
    #: reflectance = (DN + offset) / quantification; null takes both from the items' metadata.
    offset: float | None = None
    quantification: float | None = Field(default=None, gt=0)
    #: "package.module:function", which takes an asset's href and returns it signed; "" where none is needed.
    sign: str = Field(default="", pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    #: Assets read at once.
    connections: int = Field(default=4, ge=1, le=32)
    #: A search that matches more items is refused.
    max_items: int = Field(default=500, ge=1, le=10000)
    retry: Retrying = Retrying()

    @field_validator("url")
    @classmethod
    def _no_password(cls, value: str) -> str:
        check_no_password(value, "acquire.stac.url")
        return value

    @field_validator("datetime")
    @classmethod
    def _times(cls, value: str) -> str:
        check_times(value, "acquire.stac.datetime")
        return value

    @model_validator(mode="after")
    def _area(self) -> "StacParams":
        if self.bbox and self.aoi:
            raise ValueError("acquire.stac must have one area: got both bbox and aoi; remove one")
        if self.bbox:
            check_bbox(self.bbox)
        return self

    def check_complete(self, task: Task) -> None:
        """See that a search can be made of it and that it gives the task's bands.

        Raises:
            ValueError: url, collections, area or a band is missing.
        """
        for field, what in (("url", "the API's root"), ("collections", "at least one collection")):
            if not getattr(self, field):
                raise ValueError(f"acquire.stac.{field} must name {what} when acquire.source is stac: got none")
        if not self.bbox and not self.aoi:
            raise ValueError("acquire.stac must have an area when acquire.source is stac: got neither bbox nor aoi; "
                             "set bbox: [west, south, east, north] in degrees")
        if missing := [band for band in task.bands if band not in self.bands]:
            raise ValueError(f"acquire.stac.bands must give every band of task.bands {list(task.bands)} an asset key: "
                             f"{missing} missing; add them")


class OsmParams(Section):
    """Outlines of OpenStreetMap by their tags, from an Overpass API."""

    #: Key -> value -> class, or "ignore"; the value "*" stands for any value of the key not listed beside it.
    tags: dict[str, dict[str, str]] = {}
    #: A name that Nominatim knows the boundary of; "" takes the footprint of the scenes.
    place: str = ""
    #: Where polygons overlap, and where a feature's tags say several classes, the class named first wins; classes not
    #: named lie below them.
    priority: tuple[str, ...] = ()
    #: The Overpass API, without /interpreter.
    url: str = "https://overpass-api.de/api"
    nominatim_url: str = "https://nominatim.openstreetmap.org/"
    #: Ask the server for a free slot first; false for servers of one's own, which have none.
    rate_limit: bool = True
    retry: Retrying = Retrying(timeout_s=180)

    @field_validator("url", "nominatim_url")
    @classmethod
    def _plain_address(cls, value: str, info: ValidationInfo) -> str:
        check_no_password(value, f"acquire.osm.{info.field_name}")
        check_path_fits(value, f"acquire.osm.{info.field_name}")
        return value

    @model_validator(mode="after")
    def _mapped(self) -> "OsmParams":
        if empty := [key for key, values in self.tags.items() if not values]:
            raise ValueError(f"acquire.osm.tags must map values of each key to classes: {empty} map none; "
                             f"such as {empty[0]}: {{\"*\": class}}")
        if repeated := sorted({name for name in self.priority if self.priority.count(name) > 1}):
            raise ValueError(f"acquire.osm.priority must name each class once: {repeated} occur twice; remove one")
        return self

    def check_complete(self, task: Task) -> None:
        """See that there are tags and that they lead to the task's classes.

        Raises:
            ValueError: no tags, only ignored ones, or a class that the task does not have.
        """
        if not self.tags:
            raise ValueError("acquire.osm.tags must map tags to classes when acquire.labels_from is osm: got none; "
                             "such as {landuse: {residential: town}}")
        names = set()
        for key, values in self.tags.items():
            for value, name in values.items():
                names.add(name)
                if name != "ignore":
                    task.class_id(name, f"acquire.osm.tags.{key}[{value!r}]")
        if names == {"ignore"}:
            raise ValueError("acquire.osm.tags must map a tag to a class: all are mapped to 'ignore'")
        if strange := [name for name in self.priority if name not in names]:
            raise ValueError(f"acquire.osm.priority must name classes that acquire.osm.tags leads to, {sorted(names)}: "
                             f"got {strange}; remove them")
