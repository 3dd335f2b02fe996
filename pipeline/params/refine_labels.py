"""Section `refine_labels`: how noisy outlines are cleaned with spectral indices."""

import warnings
from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.task import Task


class IndexRule(Section):
    """Ground where a spectral index lies above (or below) a threshold is taken for a class."""

    #: The class the rule derives.
    target: str
    #: A spectral index by its spyndex name, such as NDWI or NDVI.
    index: str
    #: fixed: the threshold is `above` or `below`; otsu: it is found for each scene and must lie within `bounds`.
    method: Literal["fixed", "otsu"] = "fixed"
    #: The index must be above this, or below that (one of the two, with method fixed).
    above: float | None = None
    below: float | None = None
    #: Lowest and highest threshold that Otsu's method may find; another one is an error, never clipped.
    bounds: tuple[float, float] | None = None
    #: The side of Otsu's threshold the class lies on ("" with method fixed, where `above` or `below` says it).
    otsu_side: Literal["", "above", "below"] = ""
    #: Smaller connected areas are left alone (square metres, geodesic).
    min_area_m2: float = Field(default=0.0, ge=0)
    #: Whether derived ground outside the outlines is added to the labels as `target`.
    add: bool = True
    #: Classes of outlines that the rule acts on; those of others stay on top of derived ground.
    carve_from: tuple[str, ...] = ()
    #: What the rule does to such outlines: cut derived ground out, drop them whole, or keep them as they are. In any
    #: case later rules get no ground that this one claims.
    action: Literal["carve", "drop", "keep"] = "carve"
    #: Outlines are carved or dropped where derived ground covers at least this share of what earlier rules left.
    min_fraction: float = Field(default=0.0, ge=0, le=1)
    #: What the cut-out ground becomes: a class name, or "ignore".
    becomes: str = "ignore"

    @model_validator(mode="after")
    def _one_threshold(self) -> "IndexRule":
        given = [name for name in ("above", "below") if getattr(self, name) is not None]
        subject = f"the rule for {self.target} by {self.index}"
        if self.method == "fixed":
            if len(given) != 1:
                raise ValueError(f"{subject} must have either above or below: got {' and '.join(given) or 'neither'}; "
                                 "give one of them, or set method: otsu with bounds")
            if self.bounds is not None or self.otsu_side:
                raise ValueError(f"{subject} must have bounds and otsu_side only with method: otsu: got method fixed; "
                                 "remove them or set method: otsu")
        elif given or self.bounds is None:
            raise ValueError(f"{subject} must have bounds, and neither above nor below, with method: otsu: got "
                             f"{' and '.join(given) or 'no bounds'}; write bounds: [low, high]")
        elif not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"{subject} must have bounds [low, high] with low < high: got {list(self.bounds)}")
        return self

    @model_validator(mode="after")
    def _useful_action(self) -> "IndexRule":
        subject = f"the rule for {self.target} by {self.index}"
        if self.action == "drop" and not self.carve_from:
            raise ValueError(f"{subject} must name the classes it drops in carve_from: got none; name them or remove "
                             "action")
        if self.action == "drop" and self.min_fraction == 0:
            raise ValueError(f"{subject} must have a min_fraction above 0 with action: drop, else it drops every "
                             "outline: got 0; set it to the share at which an outline is wrong, such as 0.7")
        idle = [*(["becomes"] if self.action != "carve" and "becomes" in self.model_fields_set else []),
                *(["min_fraction"] if self.action == "keep" and self.min_fraction else [])]
        if idle:
            warnings.warn(f"{subject} has action: {self.action}, with which {' and '.join(idle)} have no effect; "
                          "remove them", stacklevel=2)
        return self

    @property
    def name(self) -> str:
        """Index and class: what the rule's polygons are called by."""
        return f"{self.index}:{self.target}"

    @property
    def side(self) -> Literal["above", "below"]:
        """The side of the threshold the class lies on."""
        return "below" if self.below is not None or self.otsu_side == "below" else "above"

    @property
    def declared_bounds(self) -> tuple[float, float]:
        """Lowest and highest threshold that Otsu's method may find.

        Raises:
            ValueError: the rule has none, because its method is fixed.
        """
        if self.bounds is None:
            raise ValueError(f"the rule {self.name} has no bounds: its method is {self.method}")
        return self.bounds

    @property
    def fixed_threshold(self) -> float:
        """`above` or `below`.

        Raises:
            ValueError: the rule has neither, because its method is otsu.
        """
        for threshold in (self.above, self.below):
            if threshold is not None:
                return threshold
        raise ValueError(f"the rule {self.name} has no fixed threshold: its method is {self.method}")


class Shift(Section):
    """Metres on the ground by which a scene's outlines are moved before anything else."""

    east_m: float = Field(default=0.0, ge=-10_000, le=10_000)
    north_m: float = Field(default=0.0, ge=-10_000, le=10_000)


class ConfidenceParams(Section):
    """How far each polygon is trusted, as a factor of its confidence; see pipeline/labels/confidence.py.

    `spectral` fits class models on all of a scene, held-out ground included: a statistic of the scene's preparation,
    like a threshold by Otsu, and so never the default.
    """

    method: Literal["constant", "spectral"] = "constant"
    #: The factor of a polygon whose pixels all look like another class.
    floor: float = Field(default=0.2, gt=0, le=1)


class RefineParams(Section):
    """Cleaning of outlines, and the rules in order of precedence (the first rule that claims ground keeps it)."""

    rules: tuple[IndexRule, ...] = Field(default=(), max_length=64)
    #: Outlines smaller than this after all carving are dropped (square metres).
    min_polygon_m2: float = Field(default=0.0, ge=0)
    #: Confidence of outlines, and of ground the rules derived; becomes the pixel weight of the loss.
    outline_confidence: float = Field(default=1.0, gt=0, le=1)
    derived_confidence: float = Field(default=1.0, gt=0, le=1)
    confidence: ConfidenceParams = ConfidenceParams()
    #: By scene id, as reports/spatial_split/registration.json proposes; outlines move before they are cleaned.
    shift: dict[str, Shift] = {}

    @model_validator(mode="after")
    def _names_differ(self) -> "RefineParams":
        names = [r.name for r in self.rules]
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"refine_labels.rules must each have their own index and target: got {repeated} twice; "
                             "remove one")
        return self

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: a rule names no class of the task.
        """
        for i, rule in enumerate(self.rules):
            task.class_id(rule.target, f"refine_labels.rules[{i}].target")
            for name in rule.carve_from:
                task.class_id(name, f"refine_labels.rules[{i}].carve_from")
            if rule.becomes != "ignore":
                task.class_id(rule.becomes, f"refine_labels.rules[{i}].becomes")
