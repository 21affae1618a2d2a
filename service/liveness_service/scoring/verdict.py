"""The rules that make a verdict of scores and refusals. They fail closed: a face that is not scored is never live."""

from collections.abc import Sequence

from liveness_service.results import MULTIPLE_FACES, NO_FACE, TOO_MANY_FACES, FaceResult, Verdict
from liveness_service.submission import FacePolicy


def verdict_of_score(score: float, threshold: float) -> Verdict:
    """Live at or above the threshold, else spoof; NaN counts as below every threshold."""
    return Verdict.LIVE if score >= threshold else Verdict.SPOOF


def refusal_of_count(count: int, policy: FacePolicy, max_faces: int) -> str | None:
    """Why a picture with this number of faces is not scored; None if it is scored."""
    if count == 0:
        return NO_FACE
    if policy is FacePolicy.SINGLE and count > 1:
        return MULTIPLE_FACES
    if policy is FacePolicy.ALL and count > max_faces:
        return TOO_MANY_FACES
    return None


def combine(refusal: str | None, faces: Sequence[FaceResult]) -> tuple[Verdict, tuple[str, ...], float | None]:
    """Combine the faces of a picture to its verdict, reasons and score.

    The verdict is undetermined if the picture was refused as a whole; else spoof if at least one face is spoof; live if
    there is a face and all faces are live; else undetermined. The score is the lowest of the faces' scores. It is None
    if the verdict is undetermined, so that nobody who reads the score alone takes it for a pass.

    Args:
        refusal: why the picture was refused as a whole; None if it was not.
        faces: the results of the faces that count.
    """
    if refusal is not None:
        return Verdict.UNDETERMINED, (refusal,), None
    lowest = min((face.score for face in faces if face.score is not None), default=None)
    verdicts = {face.verdict for face in faces}
    if Verdict.SPOOF in verdicts:
        return Verdict.SPOOF, (), lowest
    if verdicts == {Verdict.LIVE}:
        return Verdict.LIVE, (), lowest
    # The reasons in the order of the faces, each reason once.
    return Verdict.UNDETERMINED, tuple(dict.fromkeys(reason for face in faces for reason in face.reasons)), None
