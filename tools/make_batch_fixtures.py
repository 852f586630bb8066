"""Makes test/fixtures/batches: networks that do not take a batch as others do, and what methods that run many changed copies of
an image give for them.

    python tools/make_batch_fixtures.py

The expected values are plain PyTorch's, in double precision, one copy of an image in each run: Grad-CAM (Selvaraju et al. 2017),
Ablation-CAM (Desai and Ramaswamy 2020, eq. 3), Score-CAM (Wang et al. 2020), Integrated Gradients (Sundararajan et al. 2017,
Gauss-Legendre) and the areas under the deletion and insertion curves (Petsiuk et al. 2018). Maps have the layer's size, scaled
to 0..1.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from batch_models import BatchStatistics, Drops, OneImage, OneRow, Prompts, RefusesDark, Weighted
from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "batches"
SIZE = 16
STEPS, PIXELS_PER_STEP = 7, 9


def unit(maps):
    low = maps.amin((1, 2), keepdim=True)
    return (maps - low) / ((maps - low).amax((1, 2), keepdim=True) + 1e-7)


def weighted(weights, activation):
    return unit(unit((weights[..., None, None] * activation).sum(1).relu()))


class Methods:
    """Of one image with the further inputs that belong to it, at the layer that the file's hook sees."""

    def __init__(self, model, layer, x, further, category):
        self.model, self.layer, self.x, self.further, self.category = model, layer, x, further, category

    def run(self, x, replaced=None):
        kept = {}

        def hook(module, given, output):
            kept["activation"] = output if replaced is None else replaced
            return kept["activation"]

        handle = self.layer.register_forward_hook(hook)
        output = self.model(x, *self.further)
        handle.remove()
        assert output.size(0) == 1
        return kept["activation"], output[0, self.category]

    def grad_cam(self):
        activation, score = self.run(self.x)
        (gradient,) = torch.autograd.grad(score, activation)
        return weighted(gradient.mean((2, 3)), activation)

    def ablation_cam(self):
        activation, score = self.run(self.x)
        least = activation.min().item()
        fill = 0 if least == 0 else least - 1e7
        weights = []
        for channel in range(activation.size(1)):
            without = activation.detach().clone()
            without[:, channel] = fill
            weights.append((score - self.run(self.x, without)[1]) / score)
        return weighted(torch.stack(weights)[None], activation)

    def score_cam(self):
        activation, _ = self.run(self.x)
        masks = F.interpolate(activation.detach(), size=self.x.shape[2:], mode="bilinear", align_corners=True)[0]
        scores = []
        for mask in masks:
            mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
            scores.append(self.run(self.x * mask)[1])
        return weighted(torch.stack(scores).softmax(0)[None], activation)

    def integrated_gradients(self):
        total = torch.zeros_like(self.x)
        for position, weight in zip(*np.polynomial.legendre.leggauss(STEPS)):
            x = ((1 + position) / 2 * self.x).detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.run(x)[1], x)
            total = total + weight / 2 * gradient
        return total * self.x

    def curve(self, heatmap, deletes):
        order = torch.argsort(heatmap.flatten(), descending=True, stable=True)
        pixels = heatmap.numel()
        changed = [*range(0, pixels, PIXELS_PER_STEP), pixels]
        scores = []
        for count in changed:
            is_changed = torch.zeros(pixels, dtype=torch.bool)
            is_changed[order[:count]] = True
            keep = is_changed.view(heatmap.shape) != deletes
            scores.append(self.run(torch.where(keep, self.x, torch.zeros_like(self.x)))[1])
        shares = [count / pixels for count in changed]
        return sum((scores[i] + scores[i - 1]) / 2 * (shares[i] - shares[i - 1]) for i in range(1, len(scores)))


def chance(*words):
    return torch.Generator().manual_seed(zlib.crc32(repr(words).encode()))


def pictures(count, size=SIZE):
    return torch.rand(count, 3, size, size, generator=chance("pictures", count)).round(decimals=3)


def numbers(tensor):
    return [float(f"{value:.7g}") for value in tensor.detach().flatten().tolist()]


def shaped(tensor):
    return {"shape": list(tensor.shape), "values": numbers(tensor)}


def expected(model, layer, inputs, shared, heatmaps, categories):
    """Of each image; `shared`: whether the further inputs belong to all images."""
    x, *further = inputs
    images = []
    for index in range(x.size(0)):
        own = further if shared else [each[index : index + 1] for each in further]
        methods = Methods(model, layer, x[index : index + 1], own, categories[index])
        images.append({
            "gradCam": numbers(methods.grad_cam()),
            "ablationCam": numbers(methods.ablation_cam()),
            "scoreCam": numbers(methods.score_cam()),
            "integratedGradients": numbers(methods.integrated_gradients()),
            "deletion": methods.curve(heatmaps[index], True).item(),
            "insertion": methods.curve(heatmaps[index], False).item(),
            "score": methods.run(methods.x)[1].item(),
        })
    return images


def cases():
    """name, file, how it is exported, model, layer, inputs, whether further inputs belong to all images, the classes."""
    yield "one-image", "one-image", torch.jit.trace, OneImage(), "body", [pictures(1)], False, [1]
    yield "one-row", "one-row", torch.jit.trace, OneRow(), "body", [pictures(1)], False, [1]
    yield "batch-statistics", "batch-statistics", torch.jit.script, BatchStatistics(), "norm", [pictures(1)], False, [1]
    prompts = torch.rand(3, 6, generator=chance("prompts")).round(decimals=3)
    yield "prompts-3", "prompts", torch.jit.script, Prompts(), "body", [pictures(1), prompts], True, [2]
    yield "prompts-1", "prompts", torch.jit.script, Prompts(), "body", [pictures(1), prompts[:1]], True, [0]
    yield "prompts-as-images", "prompts", torch.jit.script, Prompts(), "body", [pictures(2), prompts[:2]], True, [1, 0]
    weights = torch.rand(2, 8, generator=chance("weights")).round(decimals=3)
    yield "weighted", "weighted", torch.jit.script, Weighted(), "body", [pictures(2), weights], False, [1, 3]
    yield "several callers", "batch-statistics", torch.jit.script, BatchStatistics(), "norm", [pictures(2)], False, [1, 1]


def initialised(name, model):
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.4, 0.4, generator=chance(name, parameter.shape))
    return model.eval()


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    written = []
    for name, file, how, model, layer, inputs, shared, categories in cases():
        initialised(type(model).__name__, model)
        exported = torch.jit.script(model) if how is torch.jit.script else torch.jit.trace(model, tuple(inputs))
        save_torchscript(exported, FOLDER / f"{file}.pt")
        model.double()
        heatmaps = torch.rand(inputs[0].size(0), SIZE, SIZE, generator=chance("heatmaps")).round(decimals=4)
        given = [each.double() for each in inputs]
        written.append({
            "name": name,
            "file": file,
            "layer": layer,
            "inputs": [shaped(each) for each in inputs],
            "heatmaps": shaped(heatmaps),
            "classes": categories,
            "steps": STEPS,
            "pixelsPerStep": PIXELS_PER_STEP,
            "images": expected(model, dict(model.named_modules())[layer], given, shared, heatmaps.double(), categories),
        })
    (FOLDER / "golden.json").write_text(json.dumps({"cases": written}, separators=(",", ":")) + "\n")

    two = initialised("TwoImages", OneImage(images=2))
    save_torchscript(torch.jit.trace(two, pictures(2)), FOLDER / "two-images.pt")
    save_torchscript(torch.jit.script(initialised("RefusesDark", RefusesDark())), FOLDER / "refuses-dark.pt")
    drops = initialised("Drops", Drops()).train()
    save_torchscript(torch.jit.trace(drops, pictures(2), check_trace=False), FOLDER / "drops.pt")


if __name__ == "__main__":
    main()
