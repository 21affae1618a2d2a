"""Line charts and histograms as inline SVG, in the colours of the page, so that a report needs no other file."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 22, 12, 44
SERIES = 6
"""How many classes of colours the page has: `s0`, live people, to `s5`."""

Points = Sequence[tuple[float, float]]
Ticks = Sequence[tuple[float, str]]


@dataclass(slots=True)
class Chart:
    """A chart that lines and areas are added to; `svg` then gives it."""

    title: str
    """What it shows, for people who cannot see it."""
    x_label: str
    y_label: str
    x_ticks: Ticks
    """Positions on the axis with their text; the first and the last one are its ends."""
    y_ticks: Ticks
    x_scale: Callable[[float], float] = float
    """What an axis is even in, e.g. the deviates of a normal distribution."""
    y_scale: Callable[[float], float] = float
    _parts: list[str] = field(default_factory=list)
    _names: list[tuple[str, str]] = field(default_factory=list)

    def line(self, points: Points, colour: int, name: str = "", *, dashed: bool = False) -> None:
        """A line through these points."""
        if points:
            kind = f"line s{colour % SERIES}" + (" dashed" if dashed else "")
            self._parts.append(f'<polyline class="{kind}" points="{self._path(points)}"/>')
            self._name(kind, name)

    def area(self, points: Points, colour: int, name: str = "") -> None:
        """The area within these points."""
        kind = f"area s{colour % SERIES}"
        self._parts.append(f'<polygon class="{kind}" points="{self._path(points)}"/>')
        self._name(kind, name)

    def mark(self, x: float, name: str, *, chosen: bool, left: bool) -> None:
        """A vertical line with its name at the upper end, left or right of it as far as there is space."""
        at = self._x(x)
        kind = "mark chosen" if chosen else "mark"
        left = (left or at > WIDTH - 150) and at > _LEFT + 110
        place = f'x="{at - 5 if left else at + 5:.1f}" text-anchor="{"end" if left else "start"}"'
        y = _TOP + (12 if chosen else 27)
        self._parts.append(
            f'<line class="{kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
            f'<text class="{kind}" {place} y="{y}">{html.escape(name)}</text>'
        )

    def dot(self, x: float, y: float, name: str) -> None:
        """A point that stands for an operating point."""
        self._parts.append(
            f'<circle class="dot" cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="4.5"><title>{html.escape(name)}'
            "</title></circle>"
        )

    def svg(self) -> str:
        """The chart with its axes and, below it, the names of its lines."""
        grid = []
        for value, text in self.x_ticks:
            at = self._x(value)
            grid.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
            grid.append(f'<text x="{at:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{text}</text>')
        for value, text in self.y_ticks:
            at = self._y(value)
            grid.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            grid.append(f'<text x="{_LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        names = "".join(f'<span class="{kind}">{html.escape(name)}</span>' for kind, name in self._names)
        return (
            f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(self.title)}">'
            f"{''.join(grid)}{''.join(self._parts)}"
            f'<text class="label" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(self.x_label)}</text>'
            f'<text class="label" transform="translate(12 {(HEIGHT - _BOTTOM + _TOP) / 2}) rotate(-90)" '
            f'text-anchor="middle">{html.escape(self.y_label)}</text></svg>'
            f'<figcaption class="names">{names}</figcaption></figure>'
        )

    def _name(self, kind: str, name: str) -> None:
        if name:
            self._names.append((kind, name))

    def _path(self, points: Points) -> str:
        return " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)

    def _x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * _along(value, self.x_ticks, self.x_scale)

    def _y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * _along(value, self.y_ticks, self.y_scale)


def _along(value: float, ticks: Ticks, scale: Callable[[float], float]) -> float:
    """Where a value lies on an axis, 0 to 1; beyond its ends, at them."""
    low, high = ticks[0][0], ticks[-1][0]
    start = scale(low)
    return (scale(min(max(value, low), high)) - start) / (scale(high) - start)


def percents(*shares: float) -> list[tuple[float, str]]:
    """Ticks at these shares, in percent."""
    return [(share, f"{100 * share:g} %") for share in shares]


def plain(*values: float) -> list[tuple[float, str]]:
    """Ticks at these values."""
    return [(value, f"{value:g}") for value in values]
