"""The asymmetric triplet loss of SSDG (Jia et al., "Single-Side Domain Generalization for Face Anti-Spoofing", CVPR
2020, section 3.3).
"""

import torch
from torch import Tensor, nn

# N images, D embedding


def asymmetric_triplet_energy(feature_ND: Tensor, label_N: Tensor, domain_N: Tensor, margin: float) -> Tensor:
    """N times the mean hinge [d(a, p) − d(a, n) + margin]₊ over the triplets of a batch in which it is above 0.

    The classes of the triplets are not live and spoof: live pictures of all domains are one class, and the spoofs of
    each domain one of their own. Anchor a and positive p are two pictures of a class, n is one of another class. d is
    the squared distance of features of length 1, 0 to 4. (SSDG's code takes the distance without the square.) Like
    every energy it is a sum over the batch, hence N times the mean.

    Args:
        feature_ND: embeddings; they are brought to length 1 here.
        label_N: 0 live, 1 spoof.
        domain_N: domains.
        margin: by how much other classes shall be farther away; 0.1 in SSDG.
    """
    class_N = torch.where(label_N == 0, 0, domain_N + 1)
    with torch.autocast(feature_ND.device.type, enabled=False):  # in bf16 near pictures would be as near as equal ones
        unit_ND = nn.functional.normalize(feature_ND.float())
        distance_NN = 2 - 2 * (unit_ND @ unit_ND.T)
    same_NN = class_N[:, None] == class_N[None]
    positive_NN = same_NN & ~torch.eye(len(class_N), dtype=torch.bool, device=class_N.device)
    triplet_NNN = positive_NN[:, :, None] & ~same_NN[:, None, :]
    hinge_NNN = (distance_NN[:, :, None] - distance_NN[:, None, :] + margin).relu() * triplet_NNN
    return len(class_N) * hinge_NNN.sum() / (hinge_NNN > 0).sum().clamp_min(1)
