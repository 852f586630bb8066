"""Writes test/fixtures/cuda: small models that bring a GPU into trouble. No expected values: the tests say what must happen."""

from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "cuda"


class Hungry(nn.Module):
    """Takes as many GiB as the first value of the input says."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gibibytes = int(x[0, 0, 0, 0].item())
        kept = torch.zeros([gibibytes, 1 << 30], dtype=torch.uint8, device=x.device)[0, 0]
        maps = self.features(x)
        return self.head(maps.mean([2, 3])) + kept


class Table(nn.Module):
    """Looks up the entry that the first value of the input names; there are four."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.table = nn.Embedding(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        token = x[:, 0, 0, 0].to(torch.int64)
        return self.head(self.features(x).mean([2, 3]) + self.table(token))


class Target(nn.Module):
    """A target with a parameter of its own, which has to be where the output is."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.linspace(-1, 1, 1000))

    def forward(self, output: torch.Tensor) -> torch.Tensor:
        return (output * self.weights).sum()


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    for name, module in {"hungry": Hungry(), "table": Table(), "target": Target()}.items():
        torch.jit.script(module.eval()).save(str(FOLDER / f"{name}.pt"))


if __name__ == "__main__":
    main()
