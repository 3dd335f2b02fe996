"""What every section shares: frozen, strict about unknown keys, plain types."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of params.yaml; unknown keys are errors and values cannot be changed after loading."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
