"""Makes test/fixtures/limits: a layer of many places with the maps of pytorch-grad-cam, models whose forward or walk
back takes long, and one whose convolution stands before two BatchNorms.

    python tools/make_limit_fixtures.py

The expected maps are pytorch-grad-cam's projections of the layer's activations in double precision, which scikit-learn's
KernelPCA (ARPACK) and NumPy's SVD compute, with the value of largest magnitude positive and what is negative left out, scaled to 0..1
(`referenceError`: how far they are from those of the float32 activations).
"""

import copy
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection, get_2d_projection_kernel
from torch import nn

FOLDER = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "limits"


class Places(nn.Module):
    """As many places as the image has pixels, each with more channels than a matrix is solved whole for."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, channels, 3, padding=1), nn.Linear(channels, 5)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


class Counts(nn.Module):
    """Counts behind the layer, for minutes: no operation takes memory."""

    def __init__(self, rounds: int):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)
        self.rounds = rounds

    def forward(self, x):
        x = self.head(self.conv(x).mean((2, 3)))
        n = 0
        for i in range(self.rounds):
            n = (n + i) % 7
        return x + n


class Multiplies(nn.Module):
    """Many matrix products behind the layer: forward and walk back take seconds."""

    def __init__(self, rounds: int):
        super().__init__()
        self.conv, self.mix, self.head = nn.Conv2d(3, 96, 3, padding=1), nn.Linear(96, 96), nn.Linear(96, 5)
        self.rounds = rounds

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        for i in range(self.rounds):
            x = x + 0.01 * torch.tanh(self.mix(x))
        return self.head(x.mean(1))


class TwoNorms(nn.Module):
    """One convolution before two BatchNorms: its weight is folded with each, and a linear layer is called twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(16), nn.BatchNorm2d(16)
        self.mix, self.late, self.last = nn.Linear(16, 16), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.late_norm, self.head = nn.BatchNorm2d(16), nn.Linear(16, 5)
        for norm in (self.norm1, self.norm2, self.late_norm):
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                tensor.uniform_(0.5, 1.5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.norm1(self.conv(x)))
        x = F.relu(self.norm2(self.conv(x)))
        x = self.mix(F.relu(self.mix(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        x = F.relu(self.late_norm(self.late(x)))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


def image(size, seed):
    """Blobs, so that the places are alike in groups as an image's are."""
    torch.manual_seed(seed)
    return F.interpolate(torch.randn(1, 3, 7, 7), size=(size, size), mode="bicubic") + 0.1 * torch.randn(1, 3, size, size)


def unit(projection):
    projection = np.maximum(projection * np.sign(projection.flat[np.abs(projection).argmax()]), 0)
    projection = projection - projection.min()
    return projection / (projection.max() + 1e-7)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    golden = []
    for channels, size in ((8, 8), (96, 14), (96, 56)):
        torch.manual_seed(channels)
        network = Places(channels).eval()
        name = f"places_{channels}"
        torch.jit.script(network).save(str(FOLDER / f"{name}.pt"))
        x = image(size, size)
        x.numpy().astype("<f4").tofile(FOLDER / f"input_{size}.f32")
        with torch.no_grad():
            single = network.conv(x).numpy()
            double = copy.deepcopy(network).double().conv(x.double()).numpy()
        for method, project in (("kpcacam", get_2d_projection_kernel), ("eigencam", get_2d_projection)):
            expected = unit(project(double)[0])
            file = f"{method}_{channels}_{size}.f32"
            expected.astype("<f4").tofile(FOLDER / file)
            golden.append({
                "model": f"{name}.pt",
                "method": method,
                "input": {"file": f"limits/input_{size}.f32", "shape": [1, 3, size, size]},
                "map": {"file": f"limits/{file}", "shape": [1, size, size]},
                "referenceError": float(np.abs(unit(project(single)[0]) - expected).max()),
            })
    torch.manual_seed(1)
    for name, network in (("counts", Counts(4_000_000_000)), ("multiplies", Multiplies(400))):
        torch.jit.script(network.eval()).save(str(FOLDER / f"{name}.pt"))
    network, x = TwoNorms().eval(), image(8, 8)
    torch.jit.script(network).save(str(FOLDER / "two_norms.pt"))
    with torch.no_grad():
        outputs = network.double()(x.double())[0].tolist()
    (FOLDER / "two_norms.json").write_text(json.dumps({"input": "limits/input_8.f32", "outputs": outputs}) + "\n")
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
