"""Views: how a face is cut out of its picture for each network of a model, and how the crops become tensors.

A model has one view or several. Each names the rule by which its crop lies in the picture. The rule is part of the
network that was trained with it, which scores much worse on crops of another one.

level_square:
    The rule of `alignment`: a square of `margin` times the face's size, turned until the eyes are level. It shrinks and
    moves until it lies within the picture.
upright_box:
    The face's box, enlarged by `margin`, by less where it would not fit, and moved into the picture. Its sides stay
    unequal until it is resized. This is the rule of Silent-Face-Anti-Spoofing.
upright_square:
    A square of `margin` times the longer side of the face's box, not turned. What lies outside the picture is mirrored
    at its edge. This is the rule of face-antispoof-onnx.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, model_validator

from liveness_core.alignment import LevelCrops, crop_square
from liveness_core.preprocess import PreprocessSpec, stacked
from liveness_core.types import DetectedFace, FaceCrops, Picture

# N images, S crop size

Rule = Literal["level_square", "upright_box", "upright_square"]
Resampling = Literal["area_bilinear", "bilinear", "area_lanczos"]


class View(PreprocessSpec):
    """One crop of a face, and the tensor that is made of it. A model's manifest lists its views."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)] = "image"
    """Name of the encoder's input that takes it."""
    rule: Rule = "level_square"
    """How the crop lies in the picture; `margin` is the factor of the rule."""
    resampling: Resampling = "area_bilinear"
    """How the crop is resized. `area_…` averages areas where that shrinks it, and goes on as the second word says where
    it does not; `bilinear` alone averages nothing."""
    max_value: float = Field(default=1.0, gt=0, le=255)
    """Values run from 0 to this before `mean` is subtracted."""
    heatmap: bool = False
    """Whether heat maps lie on this crop: the encoder's output `activation` says what speaks for live in it."""

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.rule == "level_square" and self.resampling != "area_bilinear":
            raise ValueError("resampling: a level_square is always resampled by area_bilinear")
        return self

    @classmethod
    def of(cls, spec: PreprocessSpec) -> Self:
        """The only view of a bundle of schema version 1, whose encoder calls it `image`."""
        return cls(**spec.model_dump(), heatmap=True)

    def cut(self, picture: Picture, face: DetectedFace, crops: LevelCrops | None = None) -> Picture:
        """The crop of a face, shape (S, S, 3), RGB.

        Args:
            picture: upright RGB picture, shape (H, W, 3).
            face: a face found in it.
            crops: crops of this face that other steps look at, too.
        """
        if self.rule == "level_square":
            return (crops or LevelCrops(picture, face)).get(self.margin, self.size)
        part = _upright_box if self.rule == "upright_box" else _upright_square
        return self._resized(part(picture, face, self.margin))

    def least_side_px(self, face: DetectedFace, width: int, height: int) -> float:
        """The shorter side of the crop in a picture of `width` x `height` pixels, before it is resized."""
        if self.rule == "level_square":
            return crop_square(face, width, height, self.margin).side_px
        box_width, box_height = max(face.box.width, 1.0), max(face.box.height, 1.0)
        if self.rule == "upright_box":
            return _fitting(self.margin, box_width, box_height, width, height) * min(box_width, box_height)
        return self.margin * max(box_width, box_height)

    def to_tensor(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Stack RGB crops, each of shape (S, S, 3) and type `uint8`, into a `float32` tensor of shape (N, 3, S, S).

        Raises:
            ValueError: a crop's shape is not (S, S, 3).
        """
        return stacked(self, crops, self.max_value)

    def _resized(self, part: Picture) -> Picture:
        height, width = part.shape[:2]
        shrinks = self.size < min(height, width)
        interpolation = cv2.INTER_LANCZOS4 if self.resampling == "area_lanczos" else cv2.INTER_LINEAR
        if shrinks and self.resampling != "bilinear":
            interpolation = cv2.INTER_AREA
        return cv2.resize(part, (self.size, self.size), interpolation=interpolation).astype(np.uint8, copy=False)


def views_of(preprocess: PreprocessSpec | Sequence[View]) -> tuple[View, ...]:
    """The views of a manifest's field `preprocess`: one specification in schema version 1, a list of views in 2."""
    return (View.of(preprocess),) if isinstance(preprocess, PreprocessSpec) else tuple(preprocess)


def cut_views(
    views: Sequence[View], picture: Picture, face: DetectedFace, shared: LevelCrops | None = None
) -> FaceCrops:
    """The crops of a face, one for each view. Views that differ only in their tensors share a crop.

    Args:
        views: those of a model.
        picture: upright RGB picture, shape (H, W, 3).
        face: a face found in it.
        shared: crops of this face that other steps look at, too.
    """
    made: dict[tuple[object, ...], Picture] = {}
    crops = []
    for view in views:
        key = (view.rule, view.margin, view.size, view.resampling)
        if key not in made:
            made[key] = view.cut(picture, face, shared)
        crops.append(made[key])
    return tuple(crops)


def tensors(views: Sequence[View], faces: Sequence[FaceCrops]) -> dict[str, NDArray[np.float32]]:
    """What the encoder takes for some faces: name of the view -> tensor (N, 3, S, S).

    Raises:
        ValueError: a face has another number of crops than there are views, or a crop another shape.
    """
    for face in faces:
        if len(face) != len(views):
            raise ValueError(f"a face has {len(face)} crops, expected {len(views)}, one for each view")
    return {view.name: view.to_tensor([face[number] for face in faces]) for number, view in enumerate(views)}


def _fitting(margin: float, box_width: float, box_height: float, width: int, height: int) -> float:
    """The factor by which a box is enlarged: less than the margin where it would not fit into the picture."""
    return min(margin, (height - 1) / box_height, (width - 1) / box_width)


def _upright_box(picture: Picture, face: DetectedFace, margin: float) -> Picture:
    height, width = picture.shape[:2]
    box_width, box_height = max(face.box.width, 1.0), max(face.box.height, 1.0)
    factor = _fitting(margin, box_width, box_height, width, height)
    x, y = face.box.centre
    left, right = _inside(x, box_width * factor, width)
    top, bottom = _inside(y, box_height * factor, height)
    # The pixel of the right and of the lower edge belongs to it, as where these networks were trained.
    return picture[top : bottom + 1, left : right + 1]


def _inside(centre: float, length: float, extent: int) -> tuple[int, int]:
    """First and last pixel of a piece of a row of `extent` pixels, moved into the row."""
    low, high = centre - length / 2, centre + length / 2
    if low < 0:
        low, high = 0.0, high - low
    if high > extent - 1:
        low, high = low - (high - extent + 1), extent - 1.0
    return max(int(low), 0), int(high)


def _upright_square(picture: Picture, face: DetectedFace, margin: float) -> Picture:
    height, width = picture.shape[:2]
    longer = max(face.box.width, face.box.height, 1.0)
    x, y = face.box.centre
    left, top = int(x - longer * margin / 2), int(y - longer * margin / 2)
    side = max(int(longer * margin), 1)
    right, bottom = left + side, top + side
    # At least one pixel of the picture, even of a box that lies outside it.
    x1, y1 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    x2, y2 = max(min(right, width), x1 + 1), max(min(bottom, height), y1 + 1)
    part = picture[y1:y2, x1:x2]
    above, below, before, after = max(y1 - top, 0), max(bottom - y2, 0), max(x1 - left, 0), max(right - x2, 0)
    if not any((above, below, before, after)):
        return part
    mirrored = cv2.copyMakeBorder(part, above, below, before, after, cv2.BORDER_REFLECT_101)
    return mirrored.astype(np.uint8, copy=False)
