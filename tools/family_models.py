"""Tiny models for the golden values of the whole CAM family; scripted, so nothing here may defy TorchScript."""

from typing import Dict, List

import torch
import torch.nn.functional as F
from torch import nn

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def seeded(make, seed: int, linear: float = 3.0) -> nn.Module:
    """A model in eval mode with fixed weights, BatchNorm statistics that are not trivial, and logits that differ."""
    torch.manual_seed(seed)
    model = make()
    for module in model.modules():
        if isinstance(module, tuple(NORM.values())):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.Linear):
            module.weight.data.mul_(linear)
    return model.eval()


class Block(nn.Module):
    def __init__(self, channels: int, dims: int):
        super().__init__()
        self.conv = CONV[dims](channels, channels, 3, padding=1)
        self.bn = NORM[dims](channels)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv(x)) + x)


class Residual(nn.Module):
    """A small ResNet of one, two or three spatial axes. Modules are registered in the order in which they run."""

    def __init__(self, channels: int = 3, classes: int = 5, dims: int = 2, width: int = 8):
        super().__init__()
        self.stem = CONV[dims](channels, width, 3, padding=1)
        self.bn = NORM[dims](width)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Block(width, dims))
        self.down = CONV[dims](width, width + 4, 3, stride=2, padding=1)
        self.layer2 = nn.Sequential(Block(width + 4, dims), Block(width + 4, dims))
        self.fc = nn.Linear(width + 4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer1(self.relu(self.bn(self.stem(x))))
        x = self.layer2(self.down(x))
        return self.fc(x.flatten(2).mean(2))


class FunctionalRelu(nn.Module):
    """F.relu and torch.relu_, which pytorch-grad-cam's guided backprop leaves alone; `modules` is the twin it gets."""

    def __init__(self, modules: bool = False):
        super().__init__()
        self.as_modules = modules
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.as_modules:
            x = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        else:
            x = torch.relu_(self.conv2(F.relu(self.conv1(x))))
        return self.fc(x.mean([2, 3]))


class ClippedRelu(nn.Module):
    """ReLU6 as a layer and as a function, with inputs that reach 6."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.relu = nn.ReLU6()
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(8 * self.conv1(x))
        return self.fc(F.relu6(self.conv2(x)).mean([2, 3]))


class Attention(nn.Module):
    """As timm writes it: either with the attention matrix in the graph, or fused."""

    def __init__(self, dim: int, heads: int, fused: bool):
        super().__init__()
        self.heads = heads
        self.fused = fused
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            attention = (q * self.scale) @ k.transpose(-2, -1)
            attention = self.attn_drop(attention.softmax(dim=-1))
            x = attention @ v
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, dim: int, act: nn.Module):
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * dim)
        self.act = act
        self.fc2 = nn.Linear(2 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


class VitBlock(nn.Module):
    def __init__(self, dim: int, heads: int, fused: bool, relu: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, fused)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, nn.ReLU() if relu else nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Class token first, then (distilled or register) tokens, then the patches row by row."""

    def __init__(self, grid=(6, 6), prefix: int = 1, distilled: bool = False, fused: bool = False, relu: bool = False):
        super().__init__()
        dim = 16
        self.distilled = distilled
        self.patch = nn.Conv2d(3, dim, 4, stride=4)
        self.prefix = nn.Parameter(torch.randn(1, prefix, dim) * 0.5)
        self.pos = nn.Parameter(torch.randn(1, prefix + grid[0] * grid[1], dim) * 0.5)
        self.blocks = nn.Sequential(*[VitBlock(dim, 2, fused, relu) for _ in range(2)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 5)
        self.head_dist = nn.Linear(dim, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.prefix.expand(x.size(0), -1, -1), x], dim=1) + self.pos
        x = self.norm(self.blocks(x))
        if self.distilled:
            return (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        return self.head(x[:, 0])


class SwinBlock(nn.Module):
    """Attention in windows of 3 x 4 tokens of a 6 x 8 grid, shifted in every other block."""

    def __init__(self, dim: int, shifted: bool, spatial: bool):
        super().__init__()
        self.shifted = shifted
        self.spatial = spatial
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, 2, False)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, nn.GELU())

    def windows(self, x: torch.Tensor) -> torch.Tensor:
        b, h, w, c = x.shape
        if self.shifted:
            x = torch.roll(x, [-1, -2], [1, 2])
        x = x.reshape(b, h // 3, 3, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 12, c)
        x = self.attn(x)
        x = x.reshape(b, h // 3, w // 4, 3, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        if self.shifted:
            x = torch.roll(x, [1, 2], [1, 2])
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        grid = y if self.spatial else y.reshape(y.size(0), 6, 8, y.size(2))
        x = x + self.windows(grid).reshape(x.shape)
        return x + self.mlp(self.norm2(x))


class Swin(nn.Module):
    """Layers give [B, H, W, C] (`spatial`, as torchvision's) or [B, H * W, C] (as Microsoft's)."""

    def __init__(self, spatial: bool):
        super().__init__()
        self.spatial = spatial
        self.patch = nn.Conv2d(3, 16, 4, stride=4)
        self.blocks = nn.Sequential(SwinBlock(16, False, spatial), SwinBlock(16, True, spatial))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x)
        x = x.permute(0, 2, 3, 1) if self.spatial else x.flatten(2).transpose(1, 2)
        x = self.norm(self.blocks(x))
        return self.head(x.mean([1, 2]) if self.spatial else x.mean(1))


class SegmentationTrunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(self.relu(self.conv2(torch.tanh(self.conv1(x)))))
        return F.interpolate(y, size=[x.size(2), x.size(3)], mode="bilinear", align_corners=False)


class Segmentation(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = SegmentationTrunk()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.trunk(x)


class SegmentationDict(Segmentation):
    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        y = self.trunk(x)
        return {"out": y, "aux": torch.tanh(y)}


class Pyramid(nn.Module):
    """A feature pyramid with the keys of torchvision's Faster R-CNN, 8 channels a level."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.level1 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.level2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.level3 = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        a = torch.relu(self.stem(x))
        b = torch.relu(self.level1(a))
        c = torch.relu(self.level2(b))
        d = self.level3(c)
        return {"0": a, "1": b, "2": c, "3": d, "pool": F.max_pool2d(d, 1, 2)}


class Detector(nn.Module):
    """Three boxes per image, one for each vertical third, as torchvision's detectors return them."""

    anchors: torch.Tensor

    def __init__(self):
        super().__init__()
        self.backbone = Pyramid()
        self.boxes = nn.Linear(40, 4)
        self.labels = nn.Linear(40, 3)
        self.register_buffer("anchors", torch.tensor([[1.0, 2, 10, 20], [9, 4, 23, 22], [20, 3, 31, 18]]))

    def forward(self, x: torch.Tensor) -> List[Dict[str, torch.Tensor]]:
        levels = self.backbone(x)
        names = ["0", "1", "2", "3", "pool"]
        result: List[Dict[str, torch.Tensor]] = []
        pooled = torch.cat([F.adaptive_avg_pool2d(levels[name], [1, 3]).squeeze(2) for name in names], 1).transpose(
            1, 2
        )
        for row in pooled.unbind(0):
            boxes = self.anchors + torch.tanh(self.boxes(row)) * 1.5
            probabilities = torch.softmax(self.labels(row), dim=1)
            scores, labels = probabilities.max(1)
            result.append({"boxes": boxes, "labels": labels + 1, "scores": scores})
        return result


class TwoInputs(nn.Module):
    """An image, and a vector that scales its features."""

    def __init__(self):
        super().__init__()
        self.trunk = Residual(3, 8)
        self.gate = nn.Linear(6, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.trunk(image)) * torch.sigmoid(self.gate(vector)))


class WithSecondInput(nn.Module):
    """What pytorch-grad-cam is given for it: the second input fixed."""

    def __init__(self, model: nn.Module, vector: torch.Tensor):
        super().__init__()
        self.model = model
        self.vector = vector

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image, self.vector)


class Margin(nn.Module):
    """A scripted target: one image's output -> a scalar."""

    def forward(self, output: torch.Tensor) -> torch.Tensor:
        return output[2] - torch.logsumexp(output, 0) * 0.5
