"""A network while it is written: the lines of its class, and what is known of the value `x` at this point."""

import random
from math import prod

HEADER = """from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import blocks
from blocks import gate


class Fields(NamedTuple):
    logits: Tensor
    features: Tensor

"""


class Sketch:
    def __init__(self, chance: random.Random, traced: bool):
        self.traced = traced
        self.axes = chance.choices((1, 2, 3), (2, 8, 1))[0]
        self.batch = chance.choice((1, 2, 2, 3))
        self.channels = chance.choice((1, 3, 3))
        size = {1: (16, 24), 2: (8, 9, 10, 12), 3: (4, 6)}[self.axes]
        self.size = [chance.choice(size) for _ in range(self.axes)]
        self.shape = [self.channels, *self.size]  # of `x`, without the batch
        self.init, self.lines = [], []
        self.kept = []  # (name, shape, kind) of what later statements may use again
        self.mixes = False  # whether the images of a batch change each other's results
        self.position = 0
        self.names = 0

    @property
    def c(self) -> int:
        return self.shape[0]

    @property
    def space(self) -> list:
        return self.shape[1:]

    @property
    def places(self) -> int:
        return prod(self.space)

    @property
    def dims(self) -> str:
        """The axes of space, as an argument."""
        return str(tuple(range(2, 2 + self.axes)))

    @property
    def ones(self) -> str:
        return ", ".join(["1"] * self.axes)

    def name(self, prefix: str) -> str:
        """The same name for a statement whichever others there are."""
        self.names += 1
        return f"{prefix}{self.position}" + ("" if self.names == 1 else "abcdefgh"[self.names - 2])

    def layer(self, prefix: str, expression: str) -> str:
        name = self.name(prefix)
        self.init.append(f"self.{name} = {expression}")
        return f"self.{name}"

    def conv(self, out: int, kernel: int = 3, more: str = "") -> str:
        return f"blocks.conv({self.axes}, {self.c}, {out}, {kernel}{more})"

    def add(self, *lines: str) -> None:
        self.lines += lines

    def keep(self, name: str, kind: str = "maps", shape=None) -> None:
        self.kept.append((name, list(shape or self.shape), kind))

    def source(self) -> str:
        init = "".join(f"        {line}\n" for line in self.init)
        body = "".join(f"        {line}\n" for line in self.lines)
        return (
            f"{HEADER}\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n{init}\n"
            f"    def forward(self, x: Tensor):\n{body}"
        )
