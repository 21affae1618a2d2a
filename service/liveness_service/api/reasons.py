"""`GET /v1/reasons`: what each reason means, and what to tell the person before the camera."""

from typing import Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from liveness_core.reasons import Reason
from liveness_service.api.access import requires
from liveness_service.api.openapi import REFUSED
from liveness_service.keys import Permission

router = APIRouter(prefix="/v1", tags=["liveness"])


class ReasonDetails(BaseModel):
    """One reason."""

    reason: Reason
    text: str = Field(description="What was found, in one sentence, for whoever reads answers and logs.")
    advice: str = Field(description="What the person before the camera can do, in one sentence, to be shown to them.")

    @classmethod
    def of(cls, reason: Reason) -> Self:
        """Make the entry of a reason."""
        return cls(reason=reason, text=reason.text, advice=reason.advice)


class Reasons(BaseModel):
    """All reasons that this version of the service gives. Later versions give more."""

    reasons: list[ReasonDetails]


@router.get(
    "/reasons",
    summary="What do the reasons mean?",
    responses=REFUSED,
    dependencies=[Depends(requires(Permission.SCORE, Permission.OPERATIONS))],
)
async def list_reasons() -> Reasons:
    """List all reasons in English. Translate them by `reason`, which stays as it is within v1."""
    return Reasons(reasons=[ReasonDetails.of(reason) for reason in Reason])
