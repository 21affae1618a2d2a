"""MobileNetV2 (Sandler et al., 2018), width 1.0, with torchvision's state-dict names."""

from typing import Literal

from torch import Tensor, nn

# N images, D = 1280 embedding, h x w last feature map (7 x 7 for 224 x 224)

Padding = Literal["torchvision", "tensorflow"]

# expansion, output channels, blocks, stride of the first block (Table 2 of the paper)
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2Encoder(nn.Module):
    """Maps image (N, 3, S, S) to embedding (N, 1280), the mean of features (N, 1280, S/32, S/32).

    Args:
        padding: how convolutions of stride 2 are padded: `torchvision` by one pixel on every side, `tensorflow` by one
            at the right and the bottom. Weights only work with the padding that they were trained with.
    """

    embedding_dim = 1280

    def __init__(self, padding: Padding = "torchvision") -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_bn_relu(3, 32, 3, 2, 1, padding)]
        channels = 32
        for expansion, outputs, blocks, stride in _STAGES:
            for block in range(blocks):
                layers.append(_InvertedResidual(channels, outputs, stride if block == 0 else 1, expansion, padding))
                channels = outputs
        layers.append(_conv_bn_relu(channels, self.embedding_dim, 1, 1, 1, padding))
        self.features = nn.Sequential(*layers)

    @property
    def lower_stages(self) -> tuple[nn.Module, nn.Module]:
        """The layers whose outputs are S/4 and S/8 wide; style mixing works there."""
        return self.features[3], self.features[6]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the embedding (N, 1280) and the features (N, 1280, S/32, S/32)."""
        features_NDhw = self.features(image)
        return features_NDhw.mean((2, 3)), features_NDhw


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, padding: Padding) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_bn_relu(inputs, hidden, 1, 1, 1, padding))
        layers += [
            _conv_bn_relu(hidden, hidden, 3, stride, hidden, padding),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.conv(x)
        return x + inner if self.use_residual else inner


class _BottomRightConv2d(nn.Conv2d):
    """A 3x3 convolution of stride 2 padded by one at the right and the bottom, TensorFlow's SAME for even sizes."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        return super().forward(nn.functional.pad(input, (0, 1, 0, 1)))


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int, groups: int, padding: Padding) -> nn.Sequential:
    if padding == "tensorflow" and stride == 2:
        convolution: nn.Conv2d = _BottomRightConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    else:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())
