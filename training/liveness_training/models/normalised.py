"""Embeddings and class weights of fixed length, as in SSDG (Jia et al., CVPR 2020, section 3.4).

The length of an embedding depends on the camera's quality, its direction on what is in the picture. So the logits are
s cos θ: s is the length that all embeddings get, θ the angle between embedding and class weight. SSDG's paper
normalises to 1; its code leaves the length to the network. Cross-entropy can only reach 0 with an s well above 1.
"""

import torch
from torch import Tensor, nn

# N images, D embedding, h x w last feature map


class NormalisedEncoder(nn.Module):
    """Another encoder, whose embeddings get the length s.

    Args:
        encoder: the encoder; its feature map stays as it is.
        embedding_dim: D.
        scale: s.
    """

    def __init__(self, encoder: nn.Module, embedding_dim: int, scale: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.embedding_dim = embedding_dim
        self.scale = scale

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the embedding (N, D) of length s and the features (N, D, h, w)."""
        embedding_ND, features_NDhw = self.encoder(image)
        return nn.functional.normalize(embedding_ND.float()) * self.scale, features_NDhw


@torch.no_grad()
def normalise_classes(classifier: nn.Linear) -> None:
    """Set the weights of each class to length 1 and the bias to 0, in place."""
    classifier.weight.copy_(nn.functional.normalize(classifier.weight))
    classifier.bias.zero_()
