"""Modules that the fuzzer's networks are put together from, for 1, 2 or 3 axes of space."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def conv(axes: int, channels: int, out: int, kernel: int = 3, **how) -> nn.Module:
    return CONVOLUTIONS[axes](channels, out, kernel, padding=how.pop("padding", kernel // 2), **how)


def gate(x: Tensor, y: Tensor) -> Tensor:
    """A function that scripting compiles apart from the modules."""
    return x * torch.sigmoid(y) if x.dim() == y.dim() else x


class ConvNormAct(nn.Sequential):
    def __init__(self, axes: int, channels: int, out: int, inplace: bool):
        super().__init__(conv(axes, channels, out), NORMS[axes](out), nn.ReLU(inplace=inplace))


class Residual(nn.Module):
    """A block of ResNet, with the addition in place or not."""

    def __init__(self, axes: int, channels: int, how: str):
        super().__init__()
        self.conv1, self.bn1 = conv(axes, channels, channels, bias=False), NORMS[axes](channels)
        self.conv2, self.bn2 = conv(axes, channels, channels, bias=False), NORMS[axes](channels)
        self.relu = nn.ReLU(inplace=how != "plain")
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.how == "+=":
            out += identity
        elif self.how == "add_":
            out.add_(identity)
        else:
            out = out + identity
        return self.relu(out)


class SqueezeExcite(nn.Module):
    def __init__(self, axes: int, channels: int, in_place: bool):
        super().__init__()
        self.down, self.up = nn.Linear(channels, 3), nn.Linear(3, channels)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.sigmoid(self.up(F.relu(self.down(x.flatten(2).mean(2)))))
        while weights.dim() < x.dim():
            weights = weights.unsqueeze(-1)
        if self.in_place:
            x = x * 1.0
            x.mul_(weights)
            return x
        return x * weights


class Shuffle(nn.Module):
    """A channel shuffle; contiguous() or reshape()."""

    def __init__(self, groups: int, reshapes: bool):
        super().__init__()
        self.groups, self.reshapes = groups, reshapes

    def forward(self, x: Tensor) -> Tensor:
        n, c = x.size(0), x.size(1)
        y = x.reshape(n, self.groups, c // self.groups, -1).transpose(1, 2)
        return y.reshape(x.shape) if self.reshapes else y.contiguous().view(x.size())


class Branches(nn.Module):
    """Branches of a ModuleList, put behind each other, stacked or added."""

    def __init__(self, axes: int, channels: int, joins: str):
        super().__init__()
        self.branches = nn.ModuleList([conv(axes, channels, channels, kernel) for kernel in (1, 3)])
        self.join = conv(axes, 2 * channels, channels, 1)
        self.joins = joins

    def forward(self, x: Tensor) -> Tensor:
        results: List[Tensor] = []
        for branch in self.branches:
            results.append(branch(x))
        if self.joins == "cat":
            return self.join(torch.cat(results, 1))
        if self.joins == "stack":
            return torch.stack(results, 0).amax(0)
        results[0] += results[1]
        return results[0]


class Attention(nn.Module):
    """Attention between places, by the operator, by matrices or by nn.MultiheadAttention; adds what it finds."""

    def __init__(self, channels: int, heads: int, how: str, causal: bool):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.qkv, self.project = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.heads, self.how, self.causal = heads, how, causal
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        n, length, c = x.shape
        y = self.norm(x)
        if self.how == "module":
            return x + self.attention(y, y, y, need_weights=False)[0]
        q, k, v = self.qkv(y).view(n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.how == "operator":
            z = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        elif self.how == "scale":
            z = F.scaled_dot_product_attention(q, k, v, scale=0.7)
        elif self.how == "mask":
            mask = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
            z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        elif self.how == "bias":
            bias = torch.arange(length, dtype=x.dtype, device=x.device) * 0.05
            z = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(length, length))
        else:
            weights = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
            z = weights.softmax(-1) @ v
        return x + self.project(z.transpose(1, 2).reshape(n, length, c))


class OverTokens(nn.Module):
    """Runs a module for tokens on maps."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.inner(tokens).transpose(1, 2).reshape(x.shape)


class ChannelsLast(nn.Module):
    """A block of ConvNeXt: LayerNorm and linear layers over channels that lie last."""

    def __init__(self, axes: int, channels: int):
        super().__init__()
        self.depthwise = conv(axes, channels, channels, 3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up, self.down = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).movedim(1, -1)
        y = self.scale * self.down(F.gelu(self.up(self.norm(y))))
        return x + y.movedim(-1, 1)


class Windows(nn.Module):
    """Cuts maps into windows that are rows of their own, as Swin does, and puts them together again."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if h % 2 != 0 or w % 2 != 0:
            return self.conv(x)
        y = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 2, 2)
        y = self.conv(y)
        y = y.view(n, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).contiguous()
        return y.view(n, c, h, w)


class TwoMaps(NamedTuple):
    fine: Tensor
    coarse: Tensor


class GivesNamed(nn.Module):
    def __init__(self, axes: int, channels: int):
        super().__init__()
        self.conv = conv(axes, channels, channels)

    def forward(self, x: Tensor) -> TwoMaps:
        y = self.conv(x)
        return TwoMaps(fine=y, coarse=y.relu())


class GivesTuple(nn.Module):
    def __init__(self, axes: int, channels: int):
        super().__init__()
        self.conv = conv(axes, channels, channels)

    def forward(self, x: Tensor) -> Tuple[Tensor, Optional[Tensor], int]:
        y = self.conv(x)
        return y, y * 0.5, x.size(1)


class GivesDict(nn.Module):
    def __init__(self, axes: int, channels: int):
        super().__init__()
        self.conv = conv(axes, channels, channels)

    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        features: Dict[str, Tensor] = {}
        features["in"] = x
        features["out"] = self.conv(x)
        features["out"].mul_(0.5)
        return features


class Counts(nn.Module):
    """Keeps a number, a weight and what it saw in attributes that its forward writes."""

    def __init__(self, axes: int, channels: int, how: str):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.seen: int = 0
        self.scale = torch.ones(1)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "buffer":
            self.calls.add_(1)
            return x * (0.5 + self.calls)
        if self.how == "number":
            self.seen += 1
            return x * (0.5 + self.seen)
        self.calls = self.calls + 1
        self.scale = self.calls * 0.5
        return x * self.scale


class Repeats(nn.Module):
    """One layer, called in a loop that scripting keeps."""

    def __init__(self, axes: int, channels: int, times: int):
        super().__init__()
        self.step = conv(axes, channels, channels)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = x + 0.3 * torch.tanh(self.step(x))
        return x
