"""Makes the file of one architecture, and tells what pytorch-grad-cam makes of its layers. Started by run.mjs.

    python -m tools.compare.models.truth NAME FOLDER

writes model.pt and input.bin (float32) into the folder and prints one line of JSON about them. Then each line that it reads, the
path of a layer, is answered by a line: the maps of the methods in double precision are written to METHOD.bin (float64), and
`errors` tells how far pytorch-grad-cam's own in float32 are from them.

GradCAM of a feature pyramid, which pytorch-grad-cam cannot hook, is plain autograd's.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

warnings.simplefilter("ignore")

from pytorch_grad_cam.utils.model_targets import (  # noqa: E402
    ClassifierOutputTarget,
    FasterRCNNBoxScoreTarget,
    SemanticSegmentationTarget,
)

from architectures import ARCHITECTURES, build  # noqa: E402
from tools.fixtures.family import library, reference  # noqa: E402
from tools.fixtures.shared.float64_result import doubled, in_float32  # noqa: E402
from tools.fixtures.shared.torchscript_file import save_torchscript  # noqa: E402

class Query:
    """One class's logit of one query of a DETR."""

    def __init__(self, query: int, category: int):
        self.query, self.category = query, category

    def __call__(self, output):
        return output[self.query, self.category]


class Truth:
    def __init__(self, name: str, folder: Path):
        self.architecture, self.folder = ARCHITECTURES[name], folder
        model, self.x = build(name)
        self.file_model = model
        self.prefix = "model." if self.architecture.select else ""
        output = 0 if self.architecture.output == 0 else self.architecture.output
        self.model = library.Select(model, output) if self.architecture.select else model

    def export(self) -> None:
        if self.architecture.scripted:
            file = torch.jit.script(self.file_model)
        else:
            torch.backends.mha.set_fastpath_enabled(False)
            with torch.enable_grad():
                file = torch.jit.trace(self.file_model, self.x, check_trace=False, strict=False)
        save_torchscript(file, self.folder / "model.pt")
        self.x.numpy().astype("<f4").tofile(self.folder / "input.bin")

    def choose(self) -> dict:
        """The targets, as both sides take them."""
        with torch.no_grad():
            output = self.model(list(self.x) if self.architecture.target == "boxes" else self.x)
        kind = self.architecture.target
        if kind == "class":
            return {"classes": self.choose_classes(output)}
        if kind == "category":
            maps = output[0]
            predicted = maps.argmax(0) if len(maps) > 1 else (maps[0].sigmoid() <= 0.5).long()
            category = int(predicted.flatten().bincount(minlength=len(maps))[: len(maps)].argmax())
            mask = np.float32(predicted == category)
            mask.tofile(self.folder / "mask.bin")
            self.targets = [SemanticSegmentationTarget(category, mask)]
            return {"category": category}
        if kind == "boxes":
            (found,) = output
            boxes = found["boxes"].numpy() + np.float32([1.5, -1.5, 0.75, 1.5])
            labels = found["labels"].tolist()
            self.targets = [FasterRCNNBoxScoreTarget(labels, boxes)]
            return {"labels": labels, "boxes": boxes.tolist(), "scores": found["scores"].tolist()}
        best = [divmod(int(each.flatten().argmax()), each.shape[-1]) for each in output]
        self.targets = [Query(*best[0])] * len(output)
        return {"query": best[0]}

    def choose_classes(self, output: torch.Tensor) -> list[int]:
        """The best, unless nothing speaks for it in a place more than in another."""
        for rank in range(output.shape[-1]):
            classes = output.argsort(-1, descending=True)[:, rank].tolist()
            self.targets = [ClassifierOutputTarget(each) for each in classes]
            for layer, transform in self.architecture.layers.items():
                maps = library.run("GradCAM", self.model, [self.prefix + layer], self.x, self.targets, transform)
                if maps.reshape(len(maps), -1).std(1).min() < 0.05:
                    break
            else:
                break
        return classes

    def maps(self, layer: str) -> dict:
        transform = self.architecture.layers[layer]
        path = self.prefix + layer

        def run(model, x):
            maps = {}
            for method in self.architecture.methods:
                if self.architecture.pyramid and method == "GradCAM":
                    maps[method] = reference.pyramid_by_autograd(model, path, x, self.targets)
                else:
                    reshape = levels_together if self.architecture.pyramid else transform
                    maps[method] = library.run(method, model, [path], x, self.targets, reshape)
            return maps

        with library.precision(torch.float64):
            exact = run(doubled(self.model), self.x.double())
        both = self.architecture.both_layouts and self.x.dim() == 4
        singles = in_float32(run, self.model, self.x) if both else [run(self.model, self.x)]
        errors, spreads = {}, {}
        for method, maps in exact.items():
            maps.astype("<f8").tofile(self.folder / f"{method}.bin")
            errors[method] = max(float(np.abs(single[method] - maps).max()) for single in singles)
            spreads[method] = float(maps.reshape(len(maps), -1).std(1).min())
        return {"errors": errors, "spreads": spreads, "shape": list(maps.shape)}


def levels_together(levels):
    """pytorch-grad-cam's fasterrcnn_reshape_transform, which knows only Faster R-CNN's smallest level by its name."""
    size = min((level.shape[-2:] for level in levels.values()), key=lambda size: size.numel())
    return torch.cat([nn.functional.interpolate(level.abs(), size, mode="bilinear") for level in levels.values()], 1)


def describe(name: str, truth: Truth) -> dict:
    architecture = truth.architecture
    return {
        "name": name,
        "shape": list(truth.x.shape),
        "scripted": architecture.scripted,
        "output": architecture.output,
        "layers": list(architecture.layers),
        "methods": list(architecture.methods),
        "target": {"kind": architecture.target, **truth.choose()},
        "refusal": architecture.refusal,
    }


def main() -> None:
    if len(sys.argv) < 3:
        print(json.dumps(list(ARCHITECTURES)))
        return
    name, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    truth = Truth(name, folder)
    truth.export()
    print(json.dumps(describe(name, truth)), flush=True)
    for line in sys.stdin:
        print(json.dumps(truth.maps(line.strip())), flush=True)


if __name__ == "__main__":
    main()
