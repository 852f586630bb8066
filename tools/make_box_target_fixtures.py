"""Makes test/fixtures/box-targets: a tiny detector of operators that LibTorch has, and what a box target explains of it.

    python tools/make_box_target_fixtures.py

Scores and Grad-CAM maps are those of the network in double precision, by plain autograd (`referenceError`: how far its
float32 run is from that), with the overlap of torchvision's box_iou. A wanted box is a detection itself, an edge or two
moved by a share of the box's side: within a thousandth it is that detection, whose overlap is at its height, 1, and has no
slope; beyond, the overlap and its slope count.
"""

import copy
import json
from pathlib import Path
from typing import Dict, List

import torch
from torch import nn
from torchvision.ops import box_iou

from make_layer_output_fixtures import numbers, scaled
from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "box-targets"


class Finds(nn.Module):
    """Two boxes in each image, a small one and a large one, that move with the features."""

    def __init__(self):
        super().__init__()
        self.conv, self.edges, self.scores = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 8), nn.Linear(8, 2)
        self.register_buffer("anchors", torch.tensor([[3.0, 4.0, 8.0, 8.5], [2.0, 1.0, 22.0, 20.0]]))

    def forward(self, x) -> List[Dict[str, torch.Tensor]]:
        pooled = self.conv(x).relu().mean((2, 3))
        edges, scores = self.edges(pooled).tanh().view(-1, 2, 4), self.scores(pooled).sigmoid()
        found: List[Dict[str, torch.Tensor]] = []
        for image in range(x.size(0)):
            found.append({
                "boxes": self.anchors + edges[image],
                "labels": torch.tensor([3, 7], device=x.device),
                "scores": scores[image],
            })
        return found


def explain(model, given, box, moved):
    """Map and score of the detection `box`, wanted with its edges moved by these shares of its sides."""
    kept = {}
    handle = model.conv.register_forward_hook(lambda module, inputs, output: kept.__setitem__("activation", output))
    found = model(given)[0]
    handle.remove()
    itself = found["boxes"][box].detach()
    side = (itself[2:] - itself[:2]).repeat(2)
    wanted = itself + torch.tensor(moved, dtype=itself.dtype) * side
    overlap = box_iou(wanted[None], found["boxes"][box][None])[0, 0]
    score = found["scores"][box] + (1 if max(map(abs, moved)) <= 1e-3 else overlap)
    (gradient,) = torch.autograd.grad(score, kept["activation"])
    maps = (gradient.mean((2, 3), keepdim=True) * kept["activation"]).sum(1)
    return scaled(maps.detach()), float(score.detach()), wanted.tolist()


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(5)
    model = Finds().eval()
    given = torch.rand(1, 3, 24, 24).round(decimals=3)
    save_torchscript(torch.jit.script(copy.deepcopy(model)), FOLDER / "finds.pt")
    cases = []
    for box in (0, 1):
        for moved in ([0.0] * 4, [5e-4, 0.0, -5e-4, 5e-4], [2e-3, 3e-3, -2e-3, 4e-3], [0.1, -0.05, 0.02, 0.2]):
            maps, score, wanted = explain(copy.deepcopy(model).double(), given.double(), box, moved)
            rough_maps, rough_score, _ = explain(model, given, box, moved)
            cases.append({
                "box": box,
                "moved": moved,
                "wanted": wanted,
                "label": [3, 7][box],
                "maps": numbers(maps),
                "score": score,
                "referenceError": {"maps": float((rough_maps - maps).abs().max()), "score": abs(rough_score - score)},
            })
            print(box, moved, score, maps.amax().item())
    (FOLDER / "golden.json").write_text(json.dumps({"input": numbers(given), "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
