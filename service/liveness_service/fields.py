"""What is said of settings: their table, what one may be, and which one a misspelt variable stands for."""

import difflib
from collections.abc import Iterable, Mapping

from pydantic.fields import FieldInfo


def table(fields: Mapping[str, FieldInfo], prefix: str) -> str:
    """Every field as a row of a Markdown table: variable, default, meaning."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in fields.items():
        if field.default_factory is not None:
            default = "the number of cores"
        else:
            default = "" if field.default in (None, "") else f"`{field.default}`"
        meaning = " ".join((field.description or "").split())
        lines.append(f"| `{prefix}{name.upper()}` | {default} | {meaning} |")
    return "\n".join(lines)


def allowed(field: FieldInfo | None) -> str:
    """What a switch or a number may be, to follow its error; empty where the error already says what is allowed."""
    if field is None:
        return ""
    if field.annotation is bool:
        return "; allowed: true or false"
    low, high = (
        next((bound for part in field.metadata if (bound := getattr(part, side, None)) is not None), None)
        for side in ("ge", "le")
    )
    if low is None:
        return ""
    return f"; allowed: {low} or more" if high is None else f"; allowed: {low} to {high}"


def similar(name: str, known: Iterable[str]) -> str | None:
    """The one of the known names that a misspelt one most likely stands for; None where none is alike."""
    return next(iter(difflib.get_close_matches(name.upper(), list(known), 1, 0.85)), None)
