"""`liveness calibrate --report`: the whole calibration as one HTML page, which opens without a network."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from liveness_core.bundle import Manifest
from liveness_service.calibration.faces import Judged
from liveness_service.calibration.figures import charts
from liveness_service.calibration.outcome import WORDS, Labelled, Outcome, Part
from liveness_service.calibration.words import advice, key_figures, table

_PAGE = Template((resources.files("liveness_service") / "web" / "calibration.html").read_text(encoding="utf-8"))
WORST = 12
"""How many files of each kind of error the page shows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One of the worst files."""

    judged: Judged
    picture: bytes | None
    """JPEG; None shows none."""


def worst(part: Part, outcome: Outcome) -> dict[str, list[Judged]]:
    """The files that speak most against the threshold, by heading: live ones of low score, attacks of high score."""
    own = [each for each in outcome.judged if each.answer.endpoint is part.endpoint and each.answer.score is not None]
    rising = sorted(own, key=lambda each: (each.answer.score or 0.0, each.case.path))
    live = [each for each in rising if each.case.live]
    attacks = [each for each in reversed(rising) if not each.case.live]
    found = {"Live people with the lowest scores": live[:WORST], "Attacks with the highest scores": attacks[:WORST]}
    return {heading: files for heading, files in found.items() if files}


def page(
    outcome: Outcome, manifest: Manifest, shown: Mapping[str, Mapping[str, Sequence[Shown]]], *, pictures: bool
) -> str:
    """The page, as HTML.

    Args:
        outcome: the calibration.
        manifest: of the bundle that gave the scores.
        shown: for photos and clips (`WORDS`) the worst files by heading.
        pictures: whether thumbnails were asked for.
    """
    people = {each.case.person for each in outcome.judged if each.case.live}
    attacks = sum(not each.case.live for each in outcome.judged)
    facts = [
        ("Data", outcome.wanted.source),
        ("Live people", str(len(people))),
        ("Files", f"{len(outcome.judged)}, {attacks} of them attacks" if attacks else str(len(outcome.judged))),
        ("Copies left out", str(outcome.copies)),
        ("Model", f"{manifest.name} {manifest.version}"),
        ("Hash of the model", manifest.manifest_sha256[:16]),
        ("Hash of the data", outcome.data_sha256[:16]),
        ("Made", f"{outcome.now:%Y-%m-%d %H:%M}"),
    ]
    rows = "".join(f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>" for name, text in facts)
    return _PAGE.substitute(
        name=html.escape(outcome.wanted.name),
        facts=rows,
        parts="".join(_part(part, outcome, manifest, shown.get(WORDS[part.endpoint], {})) for part in outcome.parts),
        left_out="".join(f'<p class="note">{html.escape(text)}</p>' for text in outcome.too_few.values()),
        undetermined=_undetermined(outcome),
        privacy="<p>This page holds pictures of people: keep it where the pictures themselves may be kept.</p>"
        if pictures
        else "",
    )


def _part(part: Part, outcome: Outcome, manifest: Manifest, shown: Mapping[str, Sequence[Shown]]) -> str:
    figures = "".join(
        f"<section><h3>{html.escape(title)}</h3>{svg}</section>"
        for title, svg in charts(part, manifest, outcome.wanted.name)
    )
    notes = ""
    if isinstance(part.found, Labelled):
        items = "".join(
            f"<li><b>{html.escape(f'{outcome.wanted.name}-{name}')}</b>: {html.escape(why)}</li>"
            for name, why in part.found.left_out.items()
        )
        notes = f"<p>Left out:</p><ul>{items}</ul>" if items else ""
    return (
        f"<h2>{WORDS[part.endpoint].capitalize()}</h2>"
        f'<div class="tiles">{_tiles(part)}</div>'
        f'<p class="advice">{html.escape(advice(outcome, part))}</p>'
        f'<div class="scroll">{_table(table(outcome, part))}</div>{notes}'
        f'<div class="charts">{figures}</div>'
        + "".join(_gallery(heading, files, part.threshold) for heading, files in shown.items())
    )


def _tiles(part: Part) -> str:
    return "".join(
        f"<div><span>{html.escape(what)}</span><b>{html.escape(value)}</b><span>{html.escape(how_sure)}</span></div>"
        for what, value, how_sure in key_figures(part)
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _gallery(heading: str, files: Sequence[Shown], threshold: float) -> str:
    cards = "".join(_card(each, threshold) for each in files)
    return f"<h3>{html.escape(heading)}</h3><ol>{cards}</ol>"


def _card(shown: Shown, threshold: float) -> str:
    case, score = shown.judged.case, shown.judged.answer.score or 0.0
    passes = score >= threshold
    wrong = passes != case.live
    picture = ""
    if shown.picture is not None:
        encoded = base64.b64encode(shown.picture).decode()
        picture = f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{encoded}">'
    what, short = "passes" if passes else "refused", "/".join(Path(case.path).parts[-2:])
    return (
        f'<li class="{"wrong" if wrong else "right"}">{picture}<div class="row"><b>{what}</b><span>{score:.3f}</span>'
        f"</div><div>{html.escape(case.species)}, {html.escape(case.person)}</div>"
        f'<div class="path" title="{html.escape(case.path)}">{html.escape(short)}</div></li>'
    )


def _undetermined(outcome: Outcome) -> str:
    reasons = outcome.undetermined
    if not reasons:
        return "<p>Every file got a score.</p>"
    rows = [("reason", "files"), *((one, str(count)) for one, count in reasons.items())]
    return f'<div class="scroll">{_table(rows)}</div>'
