"""The baseline: live against spoof by cross-entropy (the paper's "ResNet" row, first term of Eq. 1)."""

import torch
from torch import Tensor, nn

from liveness_training.models.mobilenet_v2 import ImageNetwork


class BinaryTask(nn.Module):
    """L = Σ L_c(classifier(encoder(x)), b), cross-entropy over logits [live, spoof], averaged over the batch.

    Shape:
        image (N, 3, S, S), label (N,) with 0 live and 1 spoof.
    """

    def __init__(self, network: ImageNetwork, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self._loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def forward(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Compute the losses; `loss` is the one to descend, the rest is for the log."""
        logits_N2 = self.network(image).float()
        accuracy = (logits_N2.argmax(1) == label).float().mean()
        return {"loss": self._loss(logits_N2, label), "accuracy": accuracy.detach()}


@torch.inference_mode()
def logits(network: ImageNetwork, image: Tensor) -> Tensor:
    """Logits (N, 2) of a batch, without gradients and in evaluation mode."""
    network.eval()
    return network(image).float()
