"""The networks of make_layer_output_fixtures.py: layers that give several things."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import nn


class Block(nn.Module):
    """Attention as many write it: the tokens, and the weights for those who want to draw them."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x) -> Tuple[torch.Tensor, torch.Tensor]:
        given = self.norm(x)
        weights = (self.query(given) @ self.key(given).transpose(1, 2) / 4.0).softmax(-1)
        return x + weights @ self.value(given), weights


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 6, 6)
        self.b0, self.b1 = Block(16), Block(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens, _ = self.b0(tokens)
        tokens, weights = self.b1(tokens)
        return self.head(tokens.mean(1)), weights


class Gated(nn.Module):
    """The gate is made of the features, inside the layer: the features' gradient goes through it too."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 1)

    def forward(self, x) -> Tuple[torch.Tensor, torch.Tensor]:
        features = self.conv(x).relu()
        return features, self.gate(features).sigmoid()


class GatedInPlace(Gated):
    """Writes into the features once the gate is made: what the layer gives is what was written."""

    def forward(self, x) -> Tuple[torch.Tensor, torch.Tensor]:
        features = self.conv(x).relu()
        gate = self.gate(features).sigmoid()
        features.mul_(0.5)
        return features, gate


class UsesGate(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(8, 5)

    def forward(self, x):
        features, gate = self.body(x)
        return self.head((features * gate).mean((2, 3)))


class Parts(NamedTuple):
    maps: torch.Tensor
    mask: torch.Tensor


class GivesParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.mask = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        maps = self.conv(x).relu()
        return Parts(maps, self.mask(maps).sigmoid())


class UsesParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = GivesParts(), nn.Linear(8, 5)

    def forward(self, x):
        parts = self.body(x)
        return self.head((parts.maps * parts.mask).mean((2, 3)))


class Pyramid(nn.Module):
    """Levels made of each other, in a dictionary, down to a single place."""

    def __init__(self):
        super().__init__()
        self.fine, self.middle, self.coarse = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 6, 3, 2), nn.Conv2d(6, 4, 5)

    def forward(self, x) -> Dict[str, torch.Tensor]:
        fine = self.fine(x).relu()
        middle = self.middle(fine).relu()
        return {"fine": fine, "middle": middle, "coarse": self.coarse(middle)}


class UsesPyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Pyramid()
        self.head, self.side, self.top = nn.Linear(8, 5), nn.Linear(6, 5), nn.Linear(4, 5)

    def forward(self, x):
        levels = self.body(x)
        fine, middle = levels["fine"].mean((2, 3)), levels["middle"].mean((2, 3))
        return self.head(fine) + self.side(middle) + self.top(levels["coarse"].mean((2, 3)))


class Stack(nn.Module):
    """A list that the caller began and the layer adds to: two maps of one size, no pyramid."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, maps: List[torch.Tensor]) -> List[torch.Tensor]:
        maps.append(self.conv(maps[0]).relu())
        return maps


class UsesStack(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.stack, self.head = nn.Conv2d(3, 8, 3, 2), Stack(), nn.Linear(16, 5)

    def forward(self, x):
        maps = [self.stem(x)]
        return self.head(torch.cat(self.stack(maps), 1).mean((2, 3)))


class Recurrent(nn.Module):
    """An LSTM gives its outputs beside two states."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        outputs, _ = self.lstm(x.transpose(1, 2))
        return self.head(outputs.mean(1))


class Attends(nn.Module):
    """nn.MultiheadAttention without its weights gives a tensor beside None."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 6, 6)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.head((tokens + mixed).mean(1))


class Twice(nn.Module):
    """The same layer in both halves of the network."""

    def __init__(self):
        super().__init__()
        self.patch, self.block, self.head = nn.Conv2d(3, 16, 6, 6), Block(16), nn.Linear(16, 5)

    def forward(self, x, also: Optional[torch.Tensor] = None):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens, _ = self.block(tokens)
        tokens, _ = self.block(tokens)
        return self.head(tokens.mean(1))
