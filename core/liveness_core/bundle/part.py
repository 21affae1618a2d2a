"""The base class of everything in a manifest."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """An immutable record that refuses unknown fields and numbers that JSON cannot hold."""

    # A NaN would be written to JSON as null, and the bundle could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
