"""Which frames of a clip are looked at: one rule, for training and for the service."""

from pydantic import BaseModel, ConfigDict, Field


class ClipSpec(BaseModel):
    """How a clip becomes the temporal head's input; written by training, read by the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(default=8, ge=2, le=64)
    """T, the frames of a clip that are scored; 8 in the paper (section 4.1)."""

    def positions(self, total: int) -> tuple[int, ...]:
        """The T frames to take of `total`, in order: the middle of each T-th of the clip.

        A clip shorter than T frames gives some of them more than once.

        Raises:
            ValueError: there is no frame.
        """
        if total < 1:
            raise ValueError("a clip without frames has no positions")
        return tuple((2 * place + 1) * total // (2 * self.frames) for place in range(self.frames))
