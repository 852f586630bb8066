"""The networks of make_model_kind_fixtures.py. Where a network writes in place, or PyTorch's own derivative is wrong, the
argument of its constructor gives a twin that says the same otherwise."""

from typing import Dict, List, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Tutorial(nn.Module):
    """Two convolutions, view, linear layers: PyTorch's own first classifier."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 8, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Linear(8 * 9, 12), nn.Linear(12, 5)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.view(-1, 72))))


class Shuffle(nn.Module):
    """A channel shuffle by view between grouped convolutions, as in ShuffleNet."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.a(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.head(F.relu(self.b(x)).mean((2, 3)))


class AsksStrides(nn.Module):
    """Takes another way where its features do not lie in rows."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.conv(x))
        if not x.is_contiguous():
            x = x * 3.0
        if x.stride(1) != x.size(2) * x.size(3):
            x = x + 1.0
        return self.head(x.mean((2, 3)))


class WritesThroughView(nn.Module):
    """flatten() gives a view where the features lie in rows: the write reaches them."""

    def __init__(self):
        super().__init__()
        self.conv, self.top, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        x.flatten(1).mul_(0.5)
        return self.head(F.relu(self.top(x)).mean((2, 3)))


class NormalisesInput(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = x.sub_(0.45).div_(0.25) if self.in_place else (x - 0.45) / 0.25
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


class WritesBehindSigmoid(nn.Module):
    """A detector's head that writes into the result of a sigmoid, whose derivative needs that result."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        y = self.head(F.relu(self.conv(x))).permute(0, 2, 3, 1).sigmoid()
        if self.in_place:
            y[..., 0:2] = y[..., 0:2] * 2 - 0.5
            y[..., 2:4] = (y[..., 2:4] * 2) ** 2
        else:
            y = torch.cat([y[..., 0:2] * 2 - 0.5, (y[..., 2:4] * 2) ** 2, y[..., 4:]], -1)
        return y.mean((1, 2))


class WritesIntoChunk(nn.Module):
    """Writes into one of the views that chunk() gave, and reads the whole afterwards."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.conv, self.top, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        if self.in_place:
            first, second = x.chunk(2, 1)
            first.sigmoid_()
            second.mul_(2)
        else:
            first, second = x.chunk(2, 1)
            x = torch.cat([first.sigmoid(), second * 2], 1)
        return self.head(F.relu(self.top(x)).mean((2, 3)))


class AppendsThenWrites(nn.Module):
    """Writes into a tensor that a list holds already."""

    def __init__(self):
        super().__init__()
        self.conv, self.top, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        parts: List[torch.Tensor] = []
        for step in range(2):
            y = self.conv(x)
            parts.append(y)
            y.view(-1).mul_(0.5 + step)
        return self.head(F.relu(self.top(torch.cat(parts, 1))).mean((2, 3)))


class Counts(nn.Module):
    """Keeps a number and a weight in attributes, and reads them in the same forward, as scripted detectors do."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.register_buffer("calls", torch.zeros(1))
        self.scale = torch.ones(1)

    def forward(self, x):
        self.calls.add_(1)
        self.scale = self.calls * 2
        return self.head(F.relu(self.conv(x)).mean((2, 3)) * self.scale)


class Unpacks(nn.Module):
    """Sizes unpacked from a shape in front of the layer, used behind it."""

    def __init__(self):
        super().__init__()
        self.conv, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        n, c, h, w = x.shape
        x = F.relu(self.body(F.relu(self.conv(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).view(n, -1))


class AsksRank(nn.Module):
    """A product that broadcasts to five axes, and a question for their number."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        y = x * torch.ones(1, 1, 1, 1, 1, dtype=x.dtype, device=x.device)
        if y.dim() == 5:
            x = x * 2.0
        return self.head(F.relu(x).mean((2, 3)))


class RewritesSkip(nn.Module):
    """The skip is rewritten between the addition and the activation."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.stem, self.conv, self.top = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        skip = self.stem(x)
        s = self.conv(skip) + skip
        if self.in_place:
            if x.size(0) > 0:
                skip.mul_(2.0)
        else:
            skip = skip * 2.0
        y = F.relu(s)
        return self.head(F.relu(self.top(y + skip)).mean((2, 3)))


class Encoder(nn.Module):
    """nn.TransformerEncoder, which a trace under no_grad holds as one operator a layer, without a derivative."""

    def __init__(self, **how):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **how)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.encoder(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class EncoderInFront(nn.Module):
    """nn.TransformerEncoder in front of the layer; with padding it works on a nested tensor."""

    def __init__(self, padded):
        super().__init__()
        self.padded = padded
        self.patch = nn.Conv2d(3, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.top, self.head = nn.Conv2d(16, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x):
        places = self.patch(x)
        tokens = places.flatten(2).transpose(1, 2)
        if self.padded:
            padding = torch.arange(36, device=x.device).ge(30).unsqueeze(0).expand(x.size(0), -1)
            tokens = F.pad(self.encoder(tokens, src_key_padding_mask=padding)[:, :30], (0, 0, 0, 6))
        else:
            tokens = self.encoder(tokens)
        return self.head(F.relu(self.top(tokens.transpose(1, 2).reshape(places.shape))).mean((2, 3)))


class Resizes(nn.Module):
    """A tensor gets an axis in place, between the question for its size and the layer."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.conv, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        means = [x.mean(1)]
        rows = means[0].size(1)
        if self.in_place:
            for mean in means:
                mean.unsqueeze_(1)
        else:
            means = [means[0].unsqueeze(1)]
        x = F.relu(self.body(F.relu(x)))
        return self.head(x.mean((2, 3)) * float(rows) / 8 + means[0].mean((2, 3)))


class ExpandsAsOldTraces(nn.Module):
    """Where a trace of PyTorch 1 broadcasts, it expands to its example's size and says that nobody asked for it."""

    def __init__(self, expands):
        super().__init__()
        self.expands = expands
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.conv(x)).mean((2, 3))
        half, sums = torch.full([1, 8], 0.5, dtype=x.dtype, device=x.device), x.sum(1, keepdim=True)
        if self.expands:
            half, sums = half.expand([7, 8], implicit=True), sums.expand([7, 8], implicit=True)
        return self.head(x * half + sums)


class SetsFlags(nn.Module):
    """Flags that forward sets where the one before is set; none is."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.fourth = False, False, False, False
        self.conv, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        if self.first:
            self.second = True
        if self.second:
            self.third = True
        if self.third:
            self.fourth = True
        x = self.conv(x)
        if self.fourth:
            x = x * 2
        return self.head(F.relu(self.body(F.relu(x))).mean((2, 3)))


class Fields(NamedTuple):
    logits: torch.Tensor
    features: torch.Tensor


class NamesOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.conv(x))
        return Fields(self.head(x.mean((2, 3))), x)


class Masked(nn.Module):
    """A second input of zeros and minus infinity."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x, mask):
        x = F.relu(self.conv(x))
        weights = (x.mean(1).flatten(1) + mask).softmax(1)
        return self.head((x.flatten(2) * weights.unsqueeze(1)).sum(2))


class Trains(nn.Module):
    """BatchNorm in training mode: the statistics are the batch's."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.relu(self.bn(self.conv(x))).mean((2, 3)))


class ClassToken(nn.Module):
    """One image's tokens behind BatchNorm and a class token: their gradient lies channels-last with room between, where
    PyTorch's own derivative of BatchNorm is wrong."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8), nn.Linear(8, 5)
        self.token, self.mix = nn.Parameter(torch.zeros(1, 1, 8)), nn.Linear(8, 8)

    def forward(self, x):
        x = self.conv(x)
        if self.formula:
            x = (x / (1 + self.norm.eps) ** 0.5) * self.norm.weight.view(1, -1, 1, 1) + self.norm.bias.view(1, -1, 1, 1)
        else:
            x = self.norm(x)
        x = torch.cat([self.token.expand(x.size(0), -1, -1), x.flatten(2).transpose(1, 2)], 1)
        return self.head(torch.tanh(self.mix(x)).mean(1))


class WritesBehindDropout(nn.Module):
    """While a model is evaluated, a dropout gives its input itself: a write into the one is one into the other."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.conv, self.top, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        kept = self.conv(x)
        if self.in_place:
            y = F.dropout(kept, 0.4, self.training)
            y[:, 0] = 0.1
            y.mul_(0.5)
        else:
            kept = torch.cat([torch.full_like(kept[:, :1], 0.1), kept[:, 1:]], 1) * 0.5
            y = kept
        return self.head(F.relu(self.top(y + kept)).mean((2, 3)))


class WritesThroughDictionary(nn.Module):
    """A write through reshape() into what a dictionary was filled with."""

    def __init__(self):
        super().__init__()
        self.conv, self.top, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        features: Dict[str, torch.Tensor] = {}
        features["conv"] = self.conv(x)
        y = features["conv"]
        y.reshape(y.size(0), -1)[:, :300] = 0.4
        return self.head(F.relu(self.top(y)).mean((2, 3)))


class RowsOfTwoKinds(nn.Module):
    """Hands on cat([x, y]) past the layer: an image's rows do not lie together."""

    def __init__(self):
        super().__init__()
        self.conv, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        both = torch.cat([x, x.tanh()])
        x = self.body(F.relu(x))
        return self.head((F.relu(x) + both.chunk(2)[1] + both[: x.size(0)]).mean((2, 3)))


class SignalTokens(nn.Module):
    """LayerNorm gives [B, places, channels], of as many axes as a map of a signal."""

    def __init__(self):
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv1d(2, 24, 4, 4), nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x):
        return self.head(self.norm(self.patch(x).transpose(1, 2)).relu().amax(1))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Windows(nn.Module):
    """A block gives [B, H, W, C], of as many axes as a map of an image, as Swin's do."""

    def __init__(self):
        super().__init__()
        self.patch, self.block, self.head = nn.Conv2d(3, 10, 4, 4), Mlp(10), nn.Linear(10, 5)

    def forward(self, x):
        return self.head(self.block(self.patch(x).permute(0, 2, 3, 1)).mean((1, 2)))


class TakesChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.relu(self.conv(x.permute(0, 3, 1, 2) * 2 - 1)).mean((2, 3)))


class AddsChannelAxis(nn.Module):
    """Takes [B, H, W], as spectrograms come."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3, padding=1, stride=2), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.relu(self.conv(x.unsqueeze(1))).mean((2, 3)))


class NormalisesFlatMaps(nn.Module):
    """GroupNorm of maps whose mean is large against their spread: a variance that is a difference of sums loses digits."""

    def __init__(self):
        super().__init__()
        self.stem, self.body, self.norm = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.GroupNorm(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.norm(self.body(self.stem(x)) * 0.125 + 4)
        return self.head(F.relu(x).amax((2, 3)))


class ActivatesSum(nn.Module):
    """An activation other than ReLU behind the addition of a skip, in front of the layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.body, self.top = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = F.hardswish(self.body(x) + x)
        return self.head(F.relu(self.top(x)).mean((2, 3)))
