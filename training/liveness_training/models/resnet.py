"""ResNet-18, 34 and 50 (He et al., 2016), with torchvision's state-dict names."""

from collections.abc import Sequence

from torch import Tensor, nn

# N images, D = 512 or 2048 embedding, h x w last feature map (7 x 7 for 224 x 224)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions; ResNet-18 and 34."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.bn2(self.conv2(inner))
        outputs: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return outputs


class _Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, the stride in the middle one as in torchvision ("v1.5"); ResNet-50."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        outputs: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return outputs


class ResNetEncoder(nn.Module):
    """Maps image (N, 3, S, S) to embedding (N, D), the mean of features (N, D, S/32, S/32).

    D is 512, or 2048 for ResNet-50.

    Args:
        depth: 18, 34 or 50.
    """

    _LAYERS: dict[int, tuple[type[_BasicBlock] | type[_Bottleneck], Sequence[int]]] = {  # noqa: RUF012 (constant)
        18: (_BasicBlock, (2, 2, 2, 2)),
        34: (_BasicBlock, (3, 4, 6, 3)),
        50: (_Bottleneck, (3, 4, 6, 3)),
    }

    def __init__(self, depth: int) -> None:
        super().__init__()
        block, counts = self._LAYERS[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(block, 64, 64, counts[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, counts[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, counts[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, counts[3], stride=2)
        self.embedding_dim = 512 * block.expansion
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def lower_stages(self) -> tuple[nn.Module, nn.Module]:
        """The layers whose outputs are S/4 and S/8 wide; style mixing works there."""
        return self.layer1, self.layer2

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the embedding (N, D) and the features (N, D, S/32, S/32)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        features_NDhw = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features_NDhw.mean((2, 3)), features_NDhw


def _stage(block: type[_BasicBlock] | type[_Bottleneck], inputs: int, width: int, count: int, stride: int) -> nn.Module:
    """Blocks of one width, the first of which may halve the resolution."""
    first = block(inputs, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(count - 1)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
