"""Section `task`: what is to be mapped. Every other section may refer to its bands and classes."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section


class ClassSpec(Section):
    """One class: its name, and its colour in figures and maps (#rrggbb)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")


class Task(Section):
    """Bands the model reads, and classes it tells apart; a class's place in the list is its id."""

    kind: Literal["segmentation"] = "segmentation"
    bands: tuple[str, ...] = Field(min_length=1)
    classes: tuple[ClassSpec, ...] = Field(min_length=2, max_length=200)
    #: The class of ground outside exhaustive labels; "" where labels are sparse and there is none.
    background: str = ""
    #: Digital numbers are divided by this to give reflectance (index formulas need it).
    reflectance_scale: float = Field(default=10000.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> "Task":
        names = [c.name for c in self.classes]
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"class names must differ: {repeated} occur twice; rename one")
        if "ignore" in names:
            raise ValueError("class names must not be 'ignore', which means no label: rename the class")
        if repeated := sorted({b for b in self.bands if self.bands.count(b) > 1}):
            raise ValueError(f"band names must differ: {repeated} occur twice; remove one")
        if self.background and self.background not in names:
            raise ValueError(f"background must be one of the classes {names}: got {self.background!r}")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by id."""
        return tuple(c.name for c in self.classes)

    def class_id(self, name: str, subject: str) -> int:
        """The id of a class; `subject` is the parameter that named it.

        Raises:
            ValueError: the task has no such class.
        """
        if name not in self.class_names:
            raise ValueError(f"{subject} must name a class of task.classes {list(self.class_names)}: got {name!r}")
        return self.class_names.index(name)
