"""Section `refine_labels`: how noisy outlines are cleaned with spectral indices."""

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.task import Task


class IndexRule(Section):
    """Ground where a spectral index exceeds a threshold is taken for a class."""

    #: The class the rule derives.
    target: str
    #: A spectral index by its spyndex name, such as NDWI or NDVI.
    index: str
    #: The index must be above this.
    above: float
    #: Smaller connected areas are left alone (square metres, geodesic).
    min_area_m2: float = Field(default=0.0, ge=0)
    #: Whether derived ground outside the outlines is added to the labels as `target`.
    add: bool = True
    #: Classes of outlines that derived ground is cut out of.
    carve_from: tuple[str, ...] = ()
    #: What the cut-out ground becomes: a class name, or "ignore".
    becomes: str = "ignore"


class RefineParams(Section):
    """Cleaning of outlines, and the rules in order of precedence (the first rule that claims ground keeps it)."""

    rules: tuple[IndexRule, ...] = ()
    #: Outlines smaller than this after all carving are dropped (square metres).
    min_polygon_m2: float = Field(default=0.0, ge=0)
    #: Confidence of outlines, and of ground the rules derived; becomes the pixel weight of the loss.
    outline_confidence: float = Field(default=1.0, gt=0, le=1)
    derived_confidence: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _one_rule_a_class(self) -> "RefineParams":
        targets = [r.target for r in self.rules]
        if len(set(targets)) < len(targets):
            raise ValueError(f"refine_labels.rules must each have their own target: got {targets}")
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
