"""The networks that score: encoder and classifier for photos, an LSTM over the embeddings for clips."""

from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from liveness_training.models.efficientnet_lite import EfficientNetLiteEncoder
from liveness_training.models.mobilenet_v2 import MobileNetV2Encoder, Padding
from liveness_training.models.normalised import NormalisedEncoder
from liveness_training.models.resnet import ResNetEncoder

# N images, B clips, T frames, D embedding, H hidden

EncoderName = Literal["mobilenet_v2", "efficientnet_lite0", "resnet18", "resnet34", "resnet50"]
Encoder = MobileNetV2Encoder | EfficientNetLiteEncoder | ResNetEncoder

M = TypeVar("M", bound=nn.Module)


def create_encoder(name: EncoderName, padding: Padding = "torchvision") -> Encoder:
    """An encoder with random weights.

    Args:
        name: which encoder.
        padding: sides on which MobileNetV2 pads its convolutions of stride 2; ResNets always use torchvision's, and
            EfficientNet-Lite TensorFlow's.
    """
    if name == "mobilenet_v2":
        return MobileNetV2Encoder(padding)
    if name == "efficientnet_lite0":
        return EfficientNetLiteEncoder()
    return ResNetEncoder(int(name.removeprefix("resnet")))


class LivenessClassifier(nn.Linear):
    """Maps embedding (N, D) to logits (N, 2), order [live, spoof]."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__(embedding_dim, 2)


class ImageNetwork(nn.Module):
    """Encoder and live/spoof classifier: image (N, 3, S, S) to logits (N, 2).

    Args:
        encoder: computes the embedding.
        dropout: before the classifier.
        feature_scale: length that embeddings are brought to; None leaves them as they are.
    """

    def __init__(self, encoder: Encoder, dropout: float = 0.0, *, feature_scale: float | None = None) -> None:
        super().__init__()
        scaled = None if feature_scale is None else NormalisedEncoder(encoder, encoder.embedding_dim, feature_scale)
        self.encoder: Encoder | NormalisedEncoder = encoder if scaled is None else scaled
        self.dropout = nn.Dropout(dropout)
        self.classifier = LivenessClassifier(encoder.embedding_dim)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits (N, 2)."""
        embedding_ND, _ = self.encoder(image)
        logits_N2: Tensor = self.classifier(self.dropout(embedding_ND))
        return logits_N2


def channels_last(module: M) -> M:
    """The same module, its weights now in the memory layout that CPUs and GPUs convolve fastest."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return module


class TemporalHead(nn.Module):
    """Maps embeddings (B, T, D) to logits (B, 2), order [live, spoof]: one label for each clip.

    The classifier takes the LSTM's output at the last frame, by which it has seen all of them. The paper says that the
    LSTM has one output and how large it is, but not at which frame it is taken.

    Args:
        embedding_dim: D.
        hidden: H; 256 in the paper.
        dropout: before the classifier.
    """

    def __init__(self, embedding_dim: int, hidden: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(embedding_dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, 2)

    def summarise(self, embeddings_BTD: Tensor) -> Tensor:
        """The feature of each clip, shape (B, H); the video-based domain discriminator takes it too."""
        states_BTH, _ = self.lstm(embeddings_BTD)
        last_BH: Tensor = states_BTH[:, -1]
        return last_BH

    def forward(self, embeddings_BTD: Tensor) -> Tensor:
        """Compute the logits (B, 2)."""
        logits_B2: Tensor = self.classifier(self.dropout(self.summarise(embeddings_BTD)))
        return logits_B2
