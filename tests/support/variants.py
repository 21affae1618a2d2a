"""Parameters that ask again what one of them has asked: the quick run takes some, the slow run all."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(quick: Collection[Any], values: Iterable[Any]) -> list[Any]:
    """Values for `pytest.mark.parametrize`, of which all that are not in `quick` are marked `slow`.

    A tuple is the values of several arguments. ValueError: `quick` has what is not among the values.
    """
    found = list(values)
    if unknown := [value for value in quick if value not in found]:
        raise ValueError(f"not among the values: {unknown}")
    return [value if value in quick else _slow(value) for value in found]


def _slow(value: Any) -> Any:
    several = value if isinstance(value, tuple) else (value,)
    return pytest.param(*several, marks=pytest.mark.slow)
