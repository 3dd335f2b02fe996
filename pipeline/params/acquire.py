"""Section `acquire`: where scenes, labels and (if there is one) an independent reference come from."""

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.params.base import Section
from pipeline.params.task import Task


class SyntheticParams(Section):
    """The embedded scene: a coastal city made by code from the seed, 10 m pixels."""

    seed: int = Field(default=42, ge=0)
    size_px: int = Field(default=1024, ge=256, le=8192, multiple_of=64)


class LocalScene(Section):
    """One GeoTIFF (or anything else GDAL opens as one raster)."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    path: str = Field(min_length=1)
    #: Band names in file order; [] takes them from the file's band descriptions.
    bands: tuple[str, ...] = ()
    #: Overrides a missing CRS, such as "EPSG:32636"; "" trusts the file.
    crs: str = ""
    #: Acquisition time, ISO 8601, for the records.
    time: str = ""
    licence: str = ""


class LocalLabels(Section):
    """Vector labels in any format pyogrio reads and any CRS."""

    path: str = ""
    #: Layer name; "" takes the only layer.
    layer: str = ""
    #: Overrides a missing CRS, such as "EPSG:4326"; "" trusts the file.
    crs: str = ""
    class_column: str = "class"
    #: Values of the class column -> class names; "ignore" declares ground of unknown class.
    classes: dict[str, str] = {}
    licence: str = ""


class LocalReference(Section):
    """Independent truth: a raster of class values, or polygons. Refinement never touches it."""

    path: str = ""
    layer: str = ""
    crs: str = ""
    #: Only for polygons.
    class_column: str = "class"
    #: Crosswalk: values in the reference -> class names; "ignore" leaves the ground unscored.
    classes: dict[str, str] = {}
    licence: str = ""


class LocalParams(Section):
    """The user's own files."""

    scenes: tuple[LocalScene, ...] = ()
    labels: LocalLabels = LocalLabels()
    reference: LocalReference = LocalReference()


class AcquireParams(Section):
    """Which source, and whether its labels cover everything."""

    source: Literal["synthetic", "local"] = "synthetic"
    #: The user's folder, which DVC watches; every path under `local` lies in it. One path, because DVC's templating
    #: puts no lists into `deps`.
    inputs: str = Field(default="inputs", min_length=1)
    #: exhaustive: ground outside the labels is task.background. sparse: it is unknown and ignored.
    coverage: Literal["exhaustive", "sparse"] = "exhaustive"
    synthetic: SyntheticParams = SyntheticParams()
    local: LocalParams = LocalParams()

    @field_validator("inputs")
    @classmethod
    def _not_the_project(cls, value: str) -> str:
        if set(PurePosixPath(value).parts) <= {".."}:
            raise ValueError("acquire.inputs must not hold the project itself, whose results would then be its own "
                             f"inputs: got {value!r}; name a folder inside or beside it")
        return value

    @model_validator(mode="after")
    def _local_is_complete(self) -> "AcquireParams":
        if self.source != "local":
            return self
        local = self.local
        if not local.scenes:
            raise ValueError("acquire.local.scenes must name at least one scene when acquire.source is local: got none")
        if not local.labels.path:
            raise ValueError("acquire.local.labels.path must name the label file when acquire.source is local: "
                             "got ''")
        ids = [s.id for s in local.scenes]
        if len(set(ids)) < len(ids):
            raise ValueError(f"acquire.local.scenes must have different ids: got {ids}")
        paths = [s.path for s in local.scenes] + [local.labels.path]
        paths += [local.reference.path] * bool(local.reference.path)
        for path in paths:
            inside = PurePosixPath(path).is_relative_to(self.inputs)
            if not inside or ".." in PurePosixPath(path).relative_to(self.inputs).parts:
                raise ValueError("every path under acquire.local must lie in acquire.inputs, so that an edited file "
                                 f"reruns the stage: {path!r} is not in {self.inputs!r}; move it or widen inputs")
        return self

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: a mapping names no class, or exhaustive labels have no background.
        """
        if self.coverage == "exhaustive" and not task.background:
            raise ValueError("task.background must name a class where acquire.coverage is exhaustive: got ''; "
                             "name it, or declare acquire.coverage sparse")
        for field, mapping in (("labels", self.local.labels.classes), ("reference", self.local.reference.classes)):
            for value, name in mapping.items():
                if name != "ignore":
                    task.class_id(name, f"acquire.local.{field}.classes[{value!r}]")
