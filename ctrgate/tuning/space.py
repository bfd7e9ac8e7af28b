"""Ranges of settings, and values drawn from them by a seed alone."""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ctrgate.config import settings
from ctrgate.ranges import Positive

__all__ = ["Range", "draw", "unit"]

Whole = int  # ``int`` is the name of a range below
_DIGITS = 6  # of drawn floats, so that run files can be read


@settings
class Range:
    """What a setting may be: one of the forms, with an optional ``step``."""

    uniform: tuple[float, float] | None = None
    """Any number from the first to the second."""
    log_uniform: tuple[float, float] | None = None
    """The same, alike likely in each factor: as much between 0.001 and 0.01 as between 0.01 and 0.1."""
    int: tuple[Whole, Whole] | None = None
    """A whole number, both ends included."""
    log_int: tuple[Whole, Whole] | None = None
    """The same, alike likely in each factor."""
    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    """One of these: numbers, words, lists, or whole sections."""
    step: Positive | None = None
    """Only the first number and those that are whole steps above it."""

    @model_validator(mode="after")
    def _one_form_with_ends_in_order(self) -> Self:
        given = [name for name in _FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(_FORMS)}; this has {' and '.join(given) or 'none'}")
        if self.choice is not None:
            if self.step is not None:
                raise ValueError("step: a choice has none; leave it out")
            return self
        low, high = self._given
        if not low < high:
            raise ValueError(f"{given[0]}: the first end must be below the second, got [{low:g}, {high:g}]")
        if self.logarithmic and low <= 0:
            raise ValueError(f"{given[0]}: the ends must be above 0, got [{low:g}, {high:g}]")
        if self.step is not None:
            if self.step > high - low:
                raise ValueError(f"step: {self.step:g} is more than the whole range from {low:g} to {high:g}")
            if self._whole and self.step != round(self.step):
                raise ValueError(f"step: whole numbers need a whole step, got {self.step:g}")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value; not of a choice."""
        low, high = self._given
        return (low, high) if self.step is None else (low, self._on_grid(high))

    @property
    def corners(self) -> tuple[Any, ...]:
        """What must be valid before anything is tried: both ends, or every choice."""
        return self.choice if self.choice is not None else tuple(self._value(end) for end in self.ends)

    @property
    def size(self) -> float:
        """The number of different values; infinite for ranges of any number."""
        if self.choice is not None:
            return len(self.choice)
        low, high = self.ends
        step = self.step or (1 if self._whole else None)
        return math.inf if step is None else round((high - low) / step) + 1

    @property
    def logarithmic(self) -> bool:
        """Whether each factor is alike likely."""
        return self.log_uniform is not None or self.log_int is not None

    @property
    def told(self) -> str:
        """The range in words."""
        if self.choice is not None:
            return f"one of {len(self.choice)}"
        low, high = self.ends
        step = "" if self.step is None else f" in steps of {self.step:g}"
        return f"from {low:g} to {high:g}{step}{', alike likely in each factor' if self.logarithmic else ''}"

    def at(self, place: float) -> Any:
        """The value at a place from 0 to below 1, so that even places give the range's distribution.

        Example:
            >>> Range(log_uniform=(0.0001, 0.01)).at(0.5), Range(int=(1, 4)).at(0.99), Range(choice=("a", "b")).at(0.5)
            (0.001, 4, 'b')
        """
        if self.choice is not None:
            return self.choice[math.floor(place * len(self.choice))]
        low, high = self.ends
        step = self.step or (1.0 if self._whole else None)
        if self.logarithmic:
            value = low * ((high + (step or 0.0)) / low) ** place
        else:
            value = low + (high + (step or 0.0) - low) * place
        if step is not None:
            value = min(self._on_grid(value), high)
        return self._value(value)

    @property
    def _whole(self) -> bool:
        return self.int is not None or self.log_int is not None

    @property
    def _given(self) -> tuple[float, float]:
        return next(form for form in (self.uniform, self.log_uniform, self.int, self.log_int) if form is not None)

    def _on_grid(self, value: float) -> float:
        """The last grid point at or below a value."""
        low, step = self._given[0], self.step or 1.0
        return low + step * math.floor((value - low) / step + 1e-9)

    def _value(self, value: float) -> float | Whole:
        if self._whole:
            return round(value)
        low, high = self.ends
        return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


_FORMS = ("uniform", "log_uniform", "int", "log_int", "choice")


def draw(space: dict[str, Range], *, seed: int, trial: int, attempt: int = 0) -> dict[str, Any]:
    """The settings of one trial by their paths.

    Each depends on the seed, the trial's number, the attempt and its own path: further trials or settings leave those
    that were there as they are.
    """
    return {path: of.at(unit(f"{seed}/{trial}/{attempt}/{path}")) for path, of in space.items()}


def unit(text: str) -> float:
    """A number from 0 to below 1 that a text decides, the same everywhere and for ever."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
