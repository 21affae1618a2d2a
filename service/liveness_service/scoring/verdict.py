"""The rules by which scores and refusals become a verdict. They fail closed: what is not scored is never live."""

from collections.abc import Sequence

from liveness_service.results import MULTIPLE_FACES, NO_FACE, TOO_MANY_FACES, FaceResult, Verdict
from liveness_service.submission import FacePolicy


def verdict_of_score(score: float, threshold: float) -> Verdict:
    """Live at or above the threshold; a score that is not a number is below every threshold."""
    return Verdict.LIVE if score >= threshold else Verdict.SPOOF


def refusal_of_count(count: int, policy: FacePolicy, max_faces: int) -> str | None:
    """Why a picture with this many faces is not scored; None where it is."""
    if count == 0:
        return NO_FACE
    if policy is FacePolicy.SINGLE and count > 1:
        return MULTIPLE_FACES
    if policy is FacePolicy.ALL and count > max_faces:
        return TOO_MANY_FACES
    return None


def combine(refusal: str | None, faces: Sequence[FaceResult]) -> tuple[Verdict, tuple[str, ...], float | None]:
    """Verdict, reasons and score of a picture.

    Undetermined where the picture was refused as a whole; else spoof if one face is; live if all faces are and there
    is one; else undetermined. The score is the lowest, and none where the verdict is undetermined: whoever reads the
    score alone must not take it for a pass.

    Args:
        refusal: why no face was scored; None where they were.
        faces: those that count.
    """
    if refusal is not None:
        return Verdict.UNDETERMINED, (refusal,), None
    lowest = min((face.score for face in faces if face.score is not None), default=None)
    verdicts = {face.verdict for face in faces}
    if Verdict.SPOOF in verdicts:
        return Verdict.SPOOF, (), lowest
    if verdicts == {Verdict.LIVE}:
        return Verdict.LIVE, (), lowest
    # In the order of the faces, each reason once.
    return Verdict.UNDETERMINED, tuple(dict.fromkeys(reason for face in faces for reason in face.reasons)), None
