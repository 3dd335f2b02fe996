"""The values one key of a search may have, and how the sampler knows them: by a plain number or word.

Ranges are known by the number that is drawn, choices that are lists or mappings by their JSON.
"""

import json
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from pipeline.errors import ParamsError
from pipeline.params.base import Section

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

#: A value as the sampler knows it, and as params.yaml has it.
Known = float | int | str | bool | None
Value = Any

#: Significant digits of a drawn number: params.yaml shall be readable, and a trial trains with the very same number.
_DIGITS, _STEPPED_DIGITS = 4, 12


class Dimension(Section):
    """The values one key may have: a range (`low`, `high`), or `choices`."""

    low: float | None = None
    high: float | None = None
    #: Whether the logarithm is drawn evenly; for ranges over orders of magnitude.
    log: bool = False
    #: Distance of the values from each other, counted from `low`; 0 = any value.
    step: float = Field(default=0.0, ge=0)
    #: Whether the range is of whole numbers.
    whole: bool = Field(default=False, alias="int")
    choices: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> "Dimension":
        if self.choices:
            if self.model_fields_set != {"choices"}:
                raise ValueError("choices must stand alone: got a range beside them; leave one out")
            if len(self.choices) < 2:
                raise ValueError(f"choices must be two or more: got {list(self.choices)}; set it in params.yaml")
            # As Python compares them: the sampler does not tell 1 from 1.0 or true.
            if double := [c for i, c in enumerate(self.choices) if c in self.choices[:i]]:
                raise ValueError(f"choices must differ: got {double[0]!r} twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("a key must have `low` and `high`, or `choices`: got neither")
        if not self.low < self.high:
            raise ValueError(f"low must be below high: got {self.low:g} and {self.high:g}")
        self._check_range(self.low, self.high)
        return self

    def _check_range(self, low: float, high: float) -> None:
        if self.log and low <= 0:
            raise ValueError(f"low must be above 0 with log: true: got {low:g}; a logarithm has no 0")
        if self.log and self.step:
            raise ValueError(f"step must be left out with log: true, where distances grow: got {self.step:g}")
        if self.whole and any(n % 1 for n in (low, high, self.step)):
            raise ValueError("low, high and step must be whole numbers with int: true: got "
                             f"{low:g}, {high:g}, {self.step:g}")
        steps = (high - low) / self.step if self.step else 0.0
        if abs(steps - round(steps)) > 1e-9 * max(1.0, steps):
            raise ValueError(f"high must be reached from low in steps: {low:g} to {high:g} by {self.step:g} is "
                             f"{steps:.6g} steps; change one of them")

    @property
    def bounds(self) -> tuple[Value, Value]:
        """The first and the last value, as params.yaml has them."""
        if self.choices:
            return self.choices[0], self.choices[-1]
        low, high = self.low or 0.0, self.high or 0.0  # both are there, as checked above
        return (int(low), int(high)) if self.whole else (low, high)

    @property
    def trying(self) -> tuple[Value, ...]:
        """The values to be tried alone before a study begins: every choice, or bounds and something between."""
        if self.choices:
            return self.choices
        low, high = self.bounds
        between = low * (high / low) ** 0.381966 if self.log else low + (high - low) * 0.381966
        step = self.step or (1 if self.whole else 0)
        return low, high, self.value(low + round((between - low) / step) * step if step else between)

    def suggest(self, trial: "BaseTrial", key: str) -> Known:
        """What a trial's sampler draws for a key."""
        if self.choices:
            labels: list[Known] = [_label(choice) for choice in self.choices]
            drawn: Known = trial.suggest_categorical(key, labels)
            return drawn
        low, high = self.bounds
        if self.whole:
            return trial.suggest_int(key, low, high, log=self.log, step=int(self.step) or 1)
        return trial.suggest_float(key, low, high, log=self.log, step=self.step or None)

    def value(self, known: Known, exact: bool = False) -> Value:
        """What params.yaml is given for what the sampler knows; drawn numbers have four significant digits.

        Args:
            known: of one of the choices, or within the range.
            exact: the number is not drawn, but params.yaml's own.

        Raises:
            ParamsError: it is none of the choices.
        """
        if self.choices:
            for choice in self.choices:
                if _label(choice) == known:
                    return choice
            raise ParamsError(f"a value must be one of the choices {list(self.choices)}: got {known!r}")
        if self.whole:
            return int(known)  # type: ignore[arg-type]  # ranges are of numbers
        if exact:
            return float(known)  # type: ignore[arg-type]  # ranges are of numbers
        low, high = self.bounds
        return min(max(float(f"{known:.{_STEPPED_DIGITS if self.step else _DIGITS}g}"), low), high)

    def known(self, value: Value) -> Known:
        """What the sampler knows a value of params.yaml by.

        Raises:
            ParamsError: the value is not in the range or none of the choices.
        """
        if self.choices:
            if value in self.choices:
                return _label(self.choices[self.choices.index(value)])
            raise ParamsError(f"it is none of {list(self.choices)}: {value!r}")
        low, high = self.bounds
        number = isinstance(value, int | float) and not isinstance(value, bool)
        steps = (value - low) / self.step if number and self.step else 0.0
        if not number or not low <= value <= high or abs(steps - round(steps)) > 1e-9 * max(1.0, steps):
            raise ParamsError(f"it is not within {low:g} to {high:g}" + (f" by {self.step:g}" if self.step else "")
                              + f": {value!r}")
        return int(value) if self.whole else float(value)


def _label(choice: Value) -> Known:
    plain = choice is None or isinstance(choice, bool | int | float | str)
    return choice if plain else json.dumps(choice, sort_keys=True)
