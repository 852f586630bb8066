"""The networks of make_corner_fixtures.py."""

from typing import Dict, List

import torch
import torch.nn.functional as F
from torch import nn


class Segments(nn.Module):
    """[B, 3, H, W] -> [B, 3, H / 2, W / 2]"""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        return self.head(F.relu(self.body(x)))


class Detects(nn.Module):
    """One box of each image, where a channel is strongest, as a detector gives it."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> List[Dict[str, torch.Tensor]]:
        features = F.relu(self.body(x))
        height, width = features.size(2), features.size(3)
        where = (features[:, 0].flatten(1) * 8).softmax(1).view(-1, height, width)
        across = (where.sum(1) * torch.arange(width).to(x)).sum(1) * 2 + 1
        down = (where.sum(2) * torch.arange(height).to(x)).sum(1) * 2 + 1
        detections: List[Dict[str, torch.Tensor]] = []
        for image in range(x.size(0)):
            a, d = across[image], down[image]
            detections.append({
                "boxes": torch.stack([a - 4, d - 3, a + 4, d + 3])[None],
                "labels": torch.ones(1, dtype=torch.int64),
                "scores": features[image, 1].mean().sigmoid()[None],
            })
        return detections


class GivesTokens(nn.Module):
    """[B, places, classes]: which axis an image's width is on, the output does not tell."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(F.relu(self.body(x)).flatten(2).transpose(1, 2))


class ChangesItsMind(nn.Module):
    """Brighter images are of another class."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        features = F.relu(self.body(x)).mean((2, 3))
        return self.head(features * features)


class Attention(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))

    def forward(self, x):
        weights = (self.query(x) @ self.key(x).transpose(1, 2)).unsqueeze(1).softmax(-1)
        return x + weights.squeeze(1) @ self.value(x)


class Towers(nn.Module):
    """An image and a text, each with attention of its own; as many texts as images."""

    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.zeros(1, 1, 8))
        self.image, self.text, self.head = Attention(8), Attention(8), nn.Linear(8, 3)

    def forward(self, x, text):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.image(torch.cat([self.token.expand(x.size(0), 1, 8), tokens], 1))
        return self.head(tokens[:, 0] * self.text(text).mean(1))


class ManyPrefixTokens(nn.Module):
    """17 tokens before those of 8 x 8 places: 81, which 9 x 9 places would have, too."""

    def __init__(self):
        super().__init__()
        self.patches, self.registers = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.zeros(1, 17, 8))
        self.norm, self.attn, self.last, self.head = nn.LayerNorm(8), Attention(8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.registers.expand(x.size(0), 17, 8), tokens], 1)
        return self.head(self.last(self.attn(self.norm(tokens)))[:, 0])


class KeepsLists(nn.Module):
    """Weights in a list and in a dictionary, which are neither parameters nor buffers."""

    weights: List[torch.Tensor]
    named: Dict[str, torch.Tensor]

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        chance = torch.Generator().manual_seed(5)
        self.weights = [torch.rand(4, 8, generator=chance), torch.rand(3, 4, generator=chance)]
        self.named = {"bias": torch.rand(3, generator=chance)}

    def forward(self, x):
        features = F.relu(self.body(x)).mean((2, 3))
        return F.linear(F.linear(features, self.weights[0]), self.weights[1], self.named["bias"])


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(F.relu(self.body(x)).mean((2, 3)))


class TakesListOrPair(nn.Module):
    """forward takes a list of images, as detectors do; another method an image and weights for its channels."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 3)

    def forward(self, images: List[torch.Tensor]):
        return self.pair(torch.stack(images), torch.ones(len(images), 8))

    @torch.jit.export
    def pair(self, x, weights):
        return self.head(F.relu(self.body(x)).mean((2, 3)) * weights)


class HandsOnList(nn.Module):
    """A list with one part more than there are images crosses the layer."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        parts: List[torch.Tensor] = [x[0, :, 0, 0].sum() * 0 + 0.5]
        for image in range(x.size(0)):
            parts.append(x[image].mean())
        features = self.body(x)
        return self.head(F.relu(features).mean((2, 3)) + parts[0])


class CallsAgain(nn.Module):
    """Calls its layer once, of bright images twice."""

    def __init__(self):
        super().__init__()
        self.start, self.body, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        calls = 2 if bool(x.mean() > 2) else 1
        y = self.start(x)
        for _ in range(calls):
            y = F.relu(self.body(y))
        return self.head(y.mean((2, 3)))


class Crops(nn.Module):
    def forward(self, x):
        return x[:, :, 8:]


class LeavesNothing(nn.Module):
    """Of images of up to 16 pixels the layer leaves none."""

    def __init__(self):
        super().__init__()
        self.body, self.crop, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), Crops(), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.crop(F.relu(self.body(x))).sum((2, 3)))


class ConvGates(nn.Module):
    """One bias, and two outputs that it is in."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(4, 3, 3, 3)), nn.Parameter(torch.zeros(4))

    def forward(self, x):
        y = F.conv2d(x, self.weight, self.bias, padding=1)
        return F.relu(y), torch.tanh(y)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gates, self.body, self.head = ConvGates(), nn.Conv2d(4, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        features, gate = self.gates(x)
        return self.head(F.relu(self.body(features * gate)).mean((2, 3)))
