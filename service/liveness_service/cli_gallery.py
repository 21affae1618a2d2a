"""`liveness score --report`: the scored files as one HTML page with thumbnails, which opens without a network."""

import base64
import html
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from string import Template

from liveness_core.bundle import Manifest
from liveness_service.cli_lines import FAILED, printable, verdict_of, words_of
from liveness_service.files import FileResult
from liveness_service.results import Verdict

_PAGE = Template((resources.files("liveness_service") / "web" / "gallery.html").read_text(encoding="utf-8"))
_KINDS = (*(str(verdict) for verdict in Verdict), FAILED)


@dataclass(frozen=True, slots=True)
class Card:
    """One file on the page."""

    scored: FileResult
    picture: bytes | None
    """JPEG; None shows none."""


def gallery(cards: Sequence[Card], manifest: Manifest, made: datetime) -> str:
    """The page, as HTML.

    Args:
        cards: the files in their order.
        manifest: of the bundle that scored them.
        made: when, shown to the minute.
    """
    folder = _common_folder([card.scored.name for card in cards])
    counts = Counter(verdict_of(card.scored) for card in cards)
    kinds = [kind for kind in _KINDS if counts[kind]]
    filters = (
        f'<label><input type="checkbox" value="{kind}" checked> {kind} ({counts[kind]})</label>' for kind in kinds
    )
    return _PAGE.substitute(
        count=len(cards),
        summary=", ".join(f'<span class="verdict {kind}">{counts[kind]} {kind}</span>' for kind in kinds),
        model=html.escape(f"Model {manifest.name} {manifest.version}"),
        made=f"{made:%Y-%m-%d %H:%M}",
        where=f" Names are from {html.escape(printable(folder))} on." if folder else "",
        filters=" ".join(filters),
        cards="\n".join(_card(number, card, folder) for number, card in enumerate(cards)),
    )


def _common_folder(names: Sequence[str]) -> str:
    """The folder that all files lie in, to be left out of their names; empty if there is none, or one file."""
    if len(names) < 2 or len({Path(name).is_absolute() for name in names}) > 1:
        return ""
    return os.path.commonpath([Path(name).parent for name in names])


def _card(number: int, card: Card, folder: str) -> str:
    scored, verdict = card.scored, verdict_of(card.scored)
    name = html.escape(printable(os.path.relpath(scored.name, folder) if folder else scored.name))
    result = scored.result
    score = None if result is None else result.score
    picture = "no picture"
    if card.picture is not None:
        encoded = base64.b64encode(card.picture).decode()
        picture = f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{encoded}">'
    threshold = "" if result is None else f"{result.threshold:.4f}"
    marks = ""
    if result is not None and score is not None:
        point = html.escape(f"threshold {result.threshold:.3f}, {result.operating_point}")
        marks = (
            f'<div class="scale" title="{point}"><i style="width:{100 * score:.1f}%"></i>'
            f'<b style="left:calc({100 * result.threshold:.1f}% - 1px)"></b></div>'
        )
    why = words_of(scored)
    return (
        f'<li class="{verdict}" data-order="{number}" data-name="{name}" data-verdict="{verdict}" '
        f'data-score="{"" if score is None else f"{score:.6f}"}" data-threshold="{threshold}">'
        f'<div class="picture">{picture}</div>'
        f'<div class="row"><span class="verdict">{verdict}</span>'
        f'<span class="number">{"" if score is None else f"{score:.3f}"}</span></div>{marks}'
        f'<div class="name">{name}</div>' + (f'<div class="why">{html.escape(why)}</div>' if why else "") + "</li>"
    )
