"""Section `acquire`: where scenes, labels and (if there is one) an independent reference come from."""

import warnings
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.params.acquire_local import LocalParams
from pipeline.params.acquire_remote import OsmParams, StacParams
from pipeline.params.base import Section
from pipeline.params.task import Task


class SyntheticParams(Section):
    """Scenes made by code from the seed: one coastal city (10 m pixels), or a set of mountain images (30 m)."""

    kind: Literal["city", "glacier"] = "city"
    seed: int = Field(default=42, ge=0)
    #: Side of the city or of each mountain image in pixels.
    size_px: int = Field(default=1024, ge=256, le=8192, multiple_of=64)
    #: glacier: how many images; image k is the same in a set of any size.
    images: int = Field(default=31, ge=1, le=1000)
    #: glacier: `shifted` images differ in sensor gain, height of the snow line, and in what counts as a lake.
    domain: Literal["target", "shifted"] = "target"

    @model_validator(mode="after")
    def _useful(self) -> "SyntheticParams":
        idle = [name for name in ("images", "domain") if getattr(self, name) != type(self).model_fields[name].default]
        if self.kind == "city" and idle:
            warnings.warn(f"acquire.synthetic.{' and '.join(idle)} have no effect with acquire.synthetic.kind=city; "
                          "remove them, or set kind to glacier", stacklevel=2)
        return self


class AcquireParams(Section):
    """Which source, and whether its labels cover everything."""

    #: Of the scenes; the embedded scene brings its own labels.
    source: Literal["synthetic", "local", "stac"] = "synthetic"
    #: Of the labels: acquire.local.labels, or outlines of OpenStreetMap.
    labels_from: Literal["local", "osm"] = "local"
    #: The user's folder, which DVC watches; every path under `local` lies in it. One path, because DVC's templating
    #: puts no lists into `deps`.
    inputs: str = Field(default="inputs", min_length=1)
    #: exhaustive: ground outside the labels is task.background. sparse: it is unknown and ignored.
    coverage: Literal["exhaustive", "sparse"] = "exhaustive"
    #: Take scenes of different processing levels (top and bottom of the atmosphere) together.
    mixed_levels: bool = False
    synthetic: SyntheticParams = SyntheticParams()
    local: LocalParams = LocalParams()
    stac: StacParams = StacParams()
    osm: OsmParams = OsmParams()

    @property
    def is_remote(self) -> bool:
        """Whether scenes or labels come over a network."""
        return self.source == "stac" or self.labels_from == "osm"

    @field_validator("inputs")
    @classmethod
    def _not_the_project(cls, value: str) -> str:
        if set(PurePosixPath(value).parts) <= {".."}:
            raise ValueError("acquire.inputs must not hold the project itself, whose results would then be its own "
                             f"inputs: got {value!r}; name a folder inside or beside it")
        return value

    @model_validator(mode="after")
    def _local_is_complete(self) -> "AcquireParams":
        if self.source == "synthetic":
            if self.labels_from != "local":
                raise ValueError("acquire.labels_from must be local when acquire.source is synthetic, which brings its "
                                 f"own labels: got {self.labels_from}; set acquire.source to local or stac")
            return self
        local = self.local
        if self.source == "local" and not local.scenes:
            raise ValueError("acquire.local.scenes must name at least one scene when acquire.source is local: got none")
        if self.labels_from == "local" and not local.labels.path:
            raise ValueError("acquire.local.labels.path must name the label file when acquire.source is "
                             f"{self.source} and acquire.labels_from is local: got ''")
        ids = [s.id for s in local.scenes]
        if len(set(ids)) < len(ids):
            raise ValueError(f"acquire.local.scenes must have different ids: got {ids}")
        for path in [*local.paths(), *([self.stac.aoi] if self.stac.aoi else [])]:
            inside = PurePosixPath(path).is_relative_to(self.inputs)
            if not inside or ".." in PurePosixPath(path).relative_to(self.inputs).parts:
                raise ValueError("every path under acquire must lie in acquire.inputs, so that an edited file "
                                 f"reruns the stage: {path!r} is not in {self.inputs!r}; move it or widen inputs")
        return self

    def href(self, path: str) -> str:
        """A path below `inputs` for records: as given, or "inputs:..." where `inputs` is absolute, a machine's own."""
        if not PurePosixPath(self.inputs).is_absolute():
            return path
        return f"inputs:{PurePosixPath(path).relative_to(self.inputs)}"

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: a mapping names no class, a priority names a class that no value leads to, or exhaustive labels
                have no background.
        """
        if self.coverage == "exhaustive" and not task.background:
            raise ValueError("task.background must name a class where acquire.coverage is exhaustive: got ''; "
                             "name it, or declare acquire.coverage sparse")
        if self.source == "stac":
            self.stac.check_complete(task)
        if self.labels_from == "osm":
            self.osm.check_complete(task)
        for field, given in (("labels", self.local.labels), ("reference", self.local.reference)):
            named = {f"classes[{value!r}]": name for value, name in given.classes.items()}
            named |= {f"priority[{i}]": name for i, name in enumerate(given.priority)}
            for where, name in named.items():
                if name != "ignore":
                    task.class_id(name, f"acquire.local.{field}.{where}")
            led_to = sorted(set(given.classes.values()))
            if given.path and (strange := [name for name in given.priority if name not in led_to]):
                raise ValueError(f"acquire.local.{field}.priority must name classes that acquire.local.{field}.classes "
                                 f"leads to, {led_to}: got {strange}; remove them")
