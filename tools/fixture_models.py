"""Tiny models for the golden values: each shows one thing that hooks on TorchScript can get wrong.

A model that must be written differently for pytorch-grad-cam (its hooks see a tensor that a later in-place operation
rewrites, and only a layer's first call) has an `eager()` twin of equal weights.
"""

from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv(x)) + x)


class SmallResNet(nn.Module):
    """Blocks of one class, as siblings in a Sequential: scripted, they share a type and a graph."""

    def __init__(self, channels: int = 3):
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.layer2 = nn.Sequential(Block(12), Block(12))
        self.fc = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer1(F.relu(self.stem(x)))
        x = self.layer2(self.down(x))
        return self.fc(x.mean([2, 3]))


class InPlaceRelu(nn.Module):
    """A BatchNorm, then an in-place ReLU that rewrites its output."""

    def __init__(self, inplace: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=inplace)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.relu(self.bn(self.conv(x))).mean([2, 3]))

    def eager(self):
        return InPlaceRelu(inplace=False)


class FunctionalInPlaceRelu(nn.Module):
    def __init__(self, inplace: bool = True):
        super().__init__()
        self.inplace = inplace
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(self.conv(x), inplace=self.inplace).mean([2, 3]))

    def eager(self):
        return FunctionalInPlaceRelu(inplace=False)


class AddInPlace(nn.Module):
    """`+=` on the target layer's output, and a skip connection over the target."""

    def __init__(self, inplace: bool = True):
        super().__init__()
        self.inplace = inplace
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = torch.tanh(self.stem(x))
        y = self.conv(skip)
        if self.inplace:
            y += skip
        else:
            y = y + skip
        return self.fc(torch.relu(self.head(torch.tanh(y))).mean([2, 3]))

    def eager(self):
        return AddInPlace(inplace=False)


class CalledTwice(nn.Module):
    """One layer, two calls."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.shared(torch.relu(self.stem(x))))
        x = torch.relu(self.shared(x))
        return self.fc(x.mean([2, 3]))

    def eager(self):
        return CalledTwiceWithProbes()


class CalledTwiceWithProbes(CalledTwice):
    """The same, with an Identity behind each call, which pytorch-grad-cam can be pointed at."""

    def __init__(self):
        super().__init__()
        self.call0 = nn.Identity()
        self.call1 = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.call0(self.shared(torch.relu(self.stem(x)))))
        x = torch.relu(self.call1(self.shared(x)))
        return self.fc(x.mean([2, 3]))


class ControlFlow(nn.Module):
    """A layer inside a branch and one inside a loop whose length the graph does not tell."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.looped = nn.Conv2d(8, 8, 3, padding=1)
        self.positive = nn.Conv2d(8, 8, 3, padding=1)
        self.negative = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = x.size(1)
        x = torch.relu(self.stem(x))
        for _ in range(count):
            x = torch.relu(self.looped(x)) + x
        if bool(x.sum() > 0):
            x = torch.relu(self.positive(x))
        else:
            x = torch.relu(self.negative(x))
        return self.fc(x.mean([2, 3]))

    def eager(self):
        return ControlFlowWithProbes()


class ControlFlowWithProbes(ControlFlow):
    def __init__(self):
        super().__init__()
        self.call0 = nn.Identity()
        self.call1 = nn.Identity()
        self.call2 = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        for probe in (self.call0, self.call1, self.call2):
            x = torch.relu(probe(self.looped(x))) + x
        return self.fc(torch.relu(self.positive(x)).mean([2, 3]))


class ListOfLayers(nn.Module):
    """A ModuleList in a loop, an optional argument, and a flag."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(3)])
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        for conv in self.convs:
            x = torch.tanh(conv(x))
        if self.training:
            x = x * 100.0
        return self.fc(self.dropout(x * scale).mean([2, 3]))


class TwoOutputs(nn.Module):
    """What the model returns depends on `kind`."""

    def __init__(self):
        super().__init__()
        self.features = SmallResNet()
        self.aux = nn.Linear(5, 4)


class DictOutput(TwoOutputs):
    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        y = self.features(x)
        return {"out": y, "aux": self.aux(torch.tanh(y))}


class TupleOutput(TwoOutputs):
    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        y = self.features(x)
        return y, self.aux(torch.tanh(y))


class ListOutput(TwoOutputs):
    def forward(self, x: torch.Tensor) -> List[torch.Tensor]:
        y = self.features(x)
        return [y, self.aux(torch.tanh(y))]


class NestedOutput(TwoOutputs):
    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        y = self.features(x)
        return y, {"aux": self.aux(torch.tanh(y))}


def select(output, key):
    """One tensor of an output: `key` is None, a key or an index, or a list of them."""
    for step in [] if key is None else key if isinstance(key, list) else [key]:
        output = output[step]
    return output


class Select(nn.Module):
    """What pytorch-grad-cam is given: the model with one of its outputs."""

    def __init__(self, model: nn.Module, key):
        super().__init__()
        self.model = model
        self.key = key

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return select(self.model(x), self.key)


class Volume(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(1, 6, 3, padding=1)
        self.conv2 = nn.Conv3d(6, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc(x.mean([2, 3, 4]))


class Signal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(2, 6, 5, stride=2, padding=2)
        self.conv2 = nn.Conv1d(6, 8, 5, stride=2, padding=2)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.conv2(torch.relu(self.conv1(x)))).mean([2]))


class NothingSpeaksForIt(nn.Module):
    """Class 0 falls with every activation, so its map is zero everywhere."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(8, 2)
        with torch.no_grad():
            self.fc.weight[0] = -self.fc.weight[0].abs()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.relu(self.conv(x)).mean([2, 3]))


class Disconnected(nn.Module):
    """`side` feeds only the second output; `unused` is never called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.side = nn.Conv2d(3, 8, 3, padding=1)
        self.unused = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        return self.fc(torch.relu(self.conv(x)).mean([2, 3])), self.side(x)


class IntOutput(nn.Module):
    """Class indices, which have no gradient."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.conv(x)).mean([2, 3])).argmax(1)


class NoForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    @torch.jit.export
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)
