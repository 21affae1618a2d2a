"""The base of what a manifest is made of."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Frozen, without fields that nobody knows, and without numbers that JSON cannot hold."""

    # JSON would get null for a NaN, and a bundle that was written could not be read.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
