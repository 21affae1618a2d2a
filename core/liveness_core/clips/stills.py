"""Tells a still picture that was made into a clip from a recording of somebody who holds still.

In a still nothing moves against anything else: it may be panned, turned or zoomed, get noise and be compressed, but one
affine map takes all its points from one frame to the next. A living head moves against what is behind it, blinks and
breathes, however still it is held. Points of the face are followed between two glances (Lucas and Kanade, there and
back), one affine map is fitted to all points, and what remains of the face's motion is the distance of the two.

A clip is a still if its glances are no more than two different pictures by that measure, so that two frames in turn are
one as well. Strong compression moves the blocks of a still as far as a living face moves, but it does so everywhere,
and differently each time. So a clip is a still as well if its face moves no more than what is around it, and if little
of that is left in the averages of the clip's four parts.

Somebody who holds still for three seconds moves no point of the face by more than compression does, but moves all of
them together. So there is a second measure: one map is fitted to the face's points and one to those around it, and how
far the two take the face's points apart is compared with how far single points around it stray, and with how far the
whole picture moves. A head that sways by a tenth of a pixel before a camera at rest shows; before one that is carried
it moves against its surroundings by a good part of the camera's motion. The last word has what no point tells: whether
a face changes by itself before a camera at rest.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from liveness_core.clips.changes import Changes
from liveness_core.clips.glances import Glance
from liveness_core.clips.maps import FAR_PX, Fit, Still, fit_between, is_same, laid_over, mean_of, points_of
from liveness_core.types import Box

_GLANCES = 10
_MOST_PICTURES = 2
# Of panned and zoomed stills that x264 coded at CRF 38, against recordings in which the head hardly moves: the face
# moves beside the map 0.25 to 1.21 times as far as what is around it (40 of 41), against 1.33 times and more; averages
# differ by at most 0.57 (39 of 41), against 0.71 and more where the surroundings move as well.
_MOST_OF_AROUND = 1.27
_PARTS, _MOST_AVERAGED = 4, 24
_MEANS_MEDIAN_PX, _MEANS_MOST_PX = 0.42, 0.62
_MOVES_PX = 0.65
"""Where the face moves by more in half of the glances it is no noise: those stills have 0.58 at most."""
_FACE_OF_MOTION = 0.06
"""A picture that is carried or zoomed is followed less exactly, by so much of its motion."""
_SCENE_PX, _SCENE_OF_FACE = 0.8, 2.5
"""Surroundings of stills move by the first and more only where most is lost, and 1.9 times as far as the face at most;
where a camera moved past people and what is behind them 1.9 to 4.0 times."""
_FEWEST, _FEWEST_FOR_TWO = 2, 8
"""Two means take all that there is from a few glances."""
_FOR_REST, _REST_PX = 7, 0.5
"""Of seven glances half move by less beside the middle one: the camera is at rest."""
_FIRST_APART, _LAST_APART = 1, 2
"""The glances at a clip's ends are left out: encoders give the first frames and the last ones other qualities."""
_FIRST_UNSTEADY = 4
"""At few bits encoders need most of a second for a quality that lasts: so many glances in front are left out where ten
remain."""
# The head against its surroundings: how far two maps are apart, and how far one sways about its median. Before a camera
# at rest strays of single points are the measure: of 92 stills by seven encoders and qualities at most 1.14 and 0.29.
# Of a picture that is carried or zoomed both grow with the motion: of 216 such stills they are at most 0.092 and 0.027
# of it (36 of them exceed what strays allow), of 149 stretches of recordings that move by a pixel and more at least
# 0.13 and 0.04. Below the bounds in pixels nothing can be measured.
_MOST_CONFIRMED = 16
_APART_PX, _APART_OF_STRAY = 0.07, 1.2
_SWAY_PX, _SWAY_OF_STRAY = 0.03, 0.35
_APART_OF_MOTION, _SWAY_OF_MOTION = 0.1, 0.05


def is_still(glances: Sequence[Glance], boxes: Sequence[Box | None]) -> bool:
    """Whether the glances show one or two still pictures.

    Args:
        glances: in the order of time.
        boxes: where the face is thought to be in each, in pixels of the whole frame; None where that is not known.
    """
    known = [(glance, box) for glance, box in zip(glances, boxes, strict=True) if box is not None]
    inner = known[_FIRST_APART:-_LAST_APART] if len(known) >= _GLANCES else known
    if len(inner) < _FEWEST:
        return False
    middle, box = inner[len(inner) // 2]
    changes = Changes([glance for glance, _ in inner if glance.luma.shape == middle.luma.shape], box)
    if changes.are_none and len(inner) >= _FEWEST_FOR_TWO:
        return True
    unsteady = int(np.clip(len(inner) - _GLANCES, 0, _FIRST_UNSTEADY - _FIRST_APART))
    return _moves_as_one(known, inner[unsteady:]) and not (changes.are_of_the_face and _is_at_rest(inner))


def _is_at_rest(inner: Sequence[tuple[Glance, Box]]) -> bool:
    middle, box = inner[len(inner) // 2]
    picture = Still(middle, *points_of(middle, box))
    steps = np.linspace(0, len(inner) - 1, _FOR_REST).round()
    fits = [laid_over(picture, inner[int(step)][0]) for step in steps]
    return float(np.median([FAR_PX if fit is None else fit.moved_px for fit in fits])) < _REST_PX


def _moves_as_one(known: Sequence[tuple[Glance, Box]], inner: Sequence[tuple[Glance, Box]]) -> bool:
    """Whether nothing moves against anything else, in one picture or two.

    Args:
        known: glances, and where the face is in each.
        inner: those of them that are not at the clip's ends.
    """
    # Uneven steps: with even ones a loop of frames could show another of them each time.
    steps = np.linspace(0, len(inner) - 1, _GLANCES) + np.resize([0, 1, -1, 0.6], _GLANCES)
    chosen = sorted({int(np.clip(round(step), 0, len(inner) - 1)) for step in steps})
    pictures: list[Still] = []
    for index in chosen:
        glance, box = inner[index]
        if any(is_same(picture, glance) for picture in pictures):
            continue
        if len(pictures) == _MOST_PICTURES:
            return _is_still_on_average(known)
        pictures.append(Still(glance, *points_of(glance, box)))
    steps = np.linspace(0, len(inner) - 1, min(len(inner), _MOST_CONFIRMED)).round()
    confirmed = [inner[int(step)] for step in steps]
    if len(pictures) == 1:
        fits = [laid_over(pictures[0], glance) for glance, _ in confirmed]
        if not _is_head_apart([fits]):
            return True
        # Two pictures that are nearly one: the second is the one in which the head is farthest from where it was.
        farthest = confirmed[int(np.argmax([FAR_PX if fit is None else fit.apart.most_px for fit in fits]))]
        pictures.append(Still(farthest[0], *points_of(*farthest)))
    of_picture: list[list[Fit | None]] = [[] for _ in pictures]
    for glance, _ in confirmed:
        laid = [laid_over(picture, glance) for picture in pictures]
        apart = [FAR_PX if fit is None else fit.apart.most_px for fit in laid]
        nearest = int(np.argmin(apart))
        of_picture[nearest].append(laid[nearest])
    return not _is_head_apart(of_picture)


def _is_scene(fits: Iterable[Fit | None]) -> bool:
    """Whether what is around the face moves in itself, and more than the face, as things at several distances do."""
    known = [fit for fit in fits if fit is not None]
    around = _median_px(known, "around_px") if known else 0.0
    return around > max(_SCENE_PX, _SCENE_OF_FACE * _median_px(known, "face_px"))


def _is_head_apart(of_picture: Sequence[Sequence[Fit | None]]) -> bool:
    """Whether the face moves as a whole against what is around it, by more than the strays of single points explain.

    Args:
        of_picture: for each still picture, the maps that lead from it to its glances.
    """
    known = [[fit.apart for fit in fits if fit is not None] for fits in of_picture]
    lost = sum(fit is None for fits in of_picture for fit in fits)
    all_known = [apart for of_one in known for apart in of_one]
    if not all_known:
        return True
    stray = float(np.median([apart.stray_px for apart in all_known]))
    most = float(np.percentile([apart.most_px for apart in all_known] + [FAR_PX] * lost, 80))
    places = [np.array([apart.shift_px for apart in of_one]) for of_one in known if of_one]
    swayed = np.concatenate([np.hypot(*(place - np.median(place, 0)).T) for place in places])
    moved, most_moved = (float(np.percentile([apart.moved_px for apart in all_known], share)) for share in (50, 80))
    if _is_scene(fit for fits in of_picture for fit in fits):
        return True
    return most > max(_APART_PX, _APART_OF_STRAY * stray, _APART_OF_MOTION * moved) or (
        float(np.median(swayed)) > max(_SWAY_PX, _SWAY_OF_STRAY * stray, _SWAY_OF_MOTION * most_moved)
    )


def _is_still_on_average(known: Sequence[tuple[Glance, Box]]) -> bool:
    """Whether what moves is noise: as much around the face as in it, and gone in the averages of the clip's parts."""
    if len(known) < 2 * _PARTS:
        return False
    steps = np.linspace(0, len(known) - 1, min(len(known), _MOST_AVERAGED)).round().astype(int)
    glances = [known[step][0] for step in steps]
    middle, box = known[steps[len(steps) // 2]]
    picture = Still(middle, *points_of(middle, box))
    last = len(glances) - 1
    fits: dict[int, Fit | None] = {}
    first = (0, last, last // 4, 3 * last // 4)
    for place in first:
        fits[place] = laid_over(picture, glances[place], least=True)
        # Whatever the others say, the median cannot be less than if their faces did not move at all.
        known_px = [FAR_PX if fit is None else fit.face_px for fit in fits.values()]
        if np.median(known_px + [0.0] * (len(first) - len(known_px))) > _MOVES_PX:
            return False
    for place, glance in enumerate(glances):
        if place not in fits and glance is not middle:
            fits[place] = laid_over(picture, glance)
    face, around, moved = (_median_px(fits.values(), name) for name in ("face_px", "around_px", "moved_px"))
    if face > min(_MOVES_PX, max(_MOST_OF_AROUND * around, _FACE_OF_MOTION * moved)) or _is_head_apart(
        [[*fits.values()]]
    ):
        return False
    matrices = {place: fit.matrix for place, fit in fits.items() if fit is not None} | {len(steps) // 2: np.eye(2, 3)}
    parts = [[place for place in part if place in matrices] for part in np.array_split(range(len(glances)), _PARTS)]
    if not all(parts):
        return False
    means = [mean_of([(glances[place].luma, matrices[place]) for place in part]) for part in parts]
    found = [fit_between(one, other, picture.points, picture.of_face) for one, other in combinations(means, 2)]
    largest = max(FAR_PX if fit is None else fit.face_px for fit in found)
    return largest < _MEANS_MOST_PX and _median_px(found, "face_px") < _MEANS_MEDIAN_PX


def _median_px(fits: Iterable[Fit | None], name: Literal["face_px", "around_px", "moved_px"]) -> float:
    """Median of a distance, where there is no map the largest."""
    return float(np.median([FAR_PX if fit is None else getattr(fit, name) for fit in fits]))
