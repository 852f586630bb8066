"""Makes test/fixtures/devices: scripted networks written for a GPU, each of which finds its device in another way.

    python tools/make_device_fixtures.py

Outputs are those of a twin on the CPU, in double precision (`referenceError`: how far its float32 run is from that): each
network's constructor takes the device, which the file has as 'cuda'. No GPU is needed.
"""

import copy
import json
from pathlib import Path
from typing import Optional

import torch
from torch import nn

from make_layer_output_fixtures import numbers
from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "devices"


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 5)

    def features(self, x):
        return self.conv(x).relu().mean((2, 3))


class Attribute(Classifier):
    device: torch.device

    def __init__(self, device):
        super().__init__()
        self.device = torch.device(device)

    def forward(self, x):
        features = self.features(x)
        return self.head(features + torch.arange(8, device=self.device).to(features.dtype) * 0.1)


class OptionalAttribute(Classifier):
    device: Optional[torch.device]

    def __init__(self, device):
        super().__init__()
        self.device = torch.device(device)

    def forward(self, x):
        features = self.features(x)
        return self.head(features + torch.arange(8, device=self.device).to(features.dtype) * 0.1)


class Text(Classifier):
    device: str

    def __init__(self, device):
        super().__init__()
        self.device = device

    def forward(self, x):
        return self.head(self.features(x.to(self.device)))


class Argument(Classifier):
    def __init__(self, device):
        super().__init__()

    def offsets(self, device: str = "cuda"):
        return torch.arange(8, device=device) * 0.1

    def forward(self, x, where: torch.device = torch.device("cuda", 0)):
        features = self.features(x)
        offsets = self.offsets().to(features.dtype) + torch.arange(8, device=where).to(features.dtype)
        return self.head(features + offsets)


class ArgumentOnCpu(Argument):
    def offsets(self, device: str = "cpu"):
        return torch.arange(8, device=device) * 0.1

    def forward(self, x, where: torch.device = torch.device("cpu")):
        features = self.features(x)
        offsets = self.offsets().to(features.dtype) + torch.arange(8, device=where).to(features.dtype)
        return self.head(features + offsets)


class Expression(Classifier):
    def __init__(self, device):
        super().__init__()
        self.on_gpu = device == "cuda"

    def forward(self, x):
        device = torch.device("cuda" if self.on_gpu else "cpu")
        features = self.features(x.to(device=device, dtype=x.dtype))
        index = 0 if self.on_gpu else -1
        if index >= 0:
            device = torch.device("cuda", index)
        return self.head(features + torch.zeros(8, device=device).to(features.dtype))


class Calls(Classifier):
    on_gpu: torch.jit.Final[bool]

    def __init__(self, device):
        super().__init__()
        self.on_gpu = device == "cuda"

    def forward(self, x):
        features = self.features(x)
        offsets = (torch.arange(8) * 0.1).to(features.dtype)
        if self.on_gpu:
            offsets = offsets.cuda()
        return self.head(features + offsets)


class Asks(Classifier):
    """Asks where its input is: on the CPU the answer stays the CPU, whatever the file was made for."""

    def __init__(self, device):
        super().__init__()

    def forward(self, x):
        features = self.features(x)
        if x.device == torch.device("cuda"):
            features = features * 2
        if x.device.type == "cuda" or x.is_cuda:
            features = features * 3
        if torch.zeros(2).cpu().device == x.device:
            features = features + 1
        return self.head(features)


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    cases = []
    given = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1)).round(decimals=3)
    twins = {"argument": ArgumentOnCpu}
    kinds = (Attribute, OptionalAttribute, Text, Argument, Expression, Calls, Asks)
    for kind in kinds:
        torch.manual_seed(1)
        name = "".join("-" + letter.lower() if letter.isupper() else letter for letter in kind.__name__).strip("-")
        model = kind("cuda").eval()
        save_torchscript(torch.jit.script(model), FOLDER / f"{name}.pt")
        twin = twins.get(name, kind)("cpu").eval()
        twin.load_state_dict(model.state_dict())
        outputs = copy.deepcopy(twin).double()(given.double()).detach()
        error = float((twin(given).detach() - outputs).abs().max())
        cases.append({"name": name, "outputs": numbers(outputs), "referenceError": error})
    (FOLDER / "golden.json").write_text(json.dumps({"input": numbers(given), "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
