"""The settings of a training run; kept in the run's folder and in the bundle that comes of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainConfig(BaseModel):
    """What a run depends on. An unknown field or a value out of range is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hold_out: str | None = None
    """Domain that is neither trained on nor used for thresholds, only reported; None trains on all."""
    steps: int = Field(default=500, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=48, ge=2)
    """Pictures a step; 48 as the paper's image batches."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak; reached after the warm-up, then down to 0 along half a cosine."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps of linear warm-up."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled (AdamW)."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Before the classifier."""
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    """Keeps the scores of training pictures from 0 and 1, so that thresholds keep their meaning."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Of the exponential moving average of the weights, which is what is evaluated and exported; 0 for none."""
    service_view_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the crops cut at the service's margin; the others are cut at random ones."""
    seed: int = Field(default=1, ge=0)
    """Of every random choice."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of the forward pass; weights stay fp32."""
    padding: Literal["torchvision", "tensorflow"] = "tensorflow"
    """Of stride-2 convolutions; that of the initial weights."""
