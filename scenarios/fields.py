"""What the models of a scenario are made of: the strict base, and numbers and names in their ranges."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, description="lower-case letters, digits and _, starting with a letter")]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def nanoseconds(seconds: float) -> int:
    """The nearest whole nanosecond."""
    return round(seconds * 1e9)


def _whole_us(seconds: float) -> float:
    if nanoseconds(seconds) % 1000 or not nanoseconds(seconds):
        raise ValueError(f"{seconds:g} s is not a whole number of microseconds; write for instance 0.02 or 1")
    return seconds


Seconds = Annotated[float, Field(gt=0, le=86_400 * 366), AfterValidator(_whole_us)]


class Strict(BaseModel):
    """Immutable; an unknown key or a value of another type is an error, and so is an infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)
