"""Writes test/fixtures/detection: small segmentation and detection models of torchvision's own classes, scripted, and
the values that pytorch-grad-cam or, for gradients of a feature pyramid, PyTorch's autograd gives for them.

The index is golden.json; arrays are little-endian float32 beside it. Of each case `source` says whose value it is.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam.ablation_layer import AblationLayerFasterRCNN
from pytorch_grad_cam.utils.reshape_transforms import fasterrcnn_reshape_transform
from torch.nn import functional as F

import detection_models as models
import family_library as library
import family_reference as reference
from torchscript_file import save_torchscript

FOLDER = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "detection"
LIBRARY = "pytorch-grad-cam"
TOLERANCE = 1e-4
cases = []


def store(name: str, values) -> dict:
    values = np.asarray(values.detach() if isinstance(values, torch.Tensor) else values, np.float32)
    assert np.isfinite(values).all(), name
    values.astype("<f4").tofile(FOLDER / f"{name}.bin")
    return {"file": f"{name}.bin", "shape": list(values.shape)}


def export(name: str, model) -> str:
    save_torchscript(torch.jit.script(model), FOLDER / f"{name}.pt")
    assert (FOLDER / f"{name}.pt").stat().st_size < 500_000, name
    return f"{name}.pt"


def case(name, method, model, x, layer, heatmaps, source, **fields) -> None:
    flat = heatmaps.reshape(len(heatmaps), -1)
    assert (flat.max(1) > 0.99).all() and (flat.std(1) > 0.02).all(), (name, flat.max(1), flat.std(1))
    stored = {"name": name, "method": method, "model": model, "input": x, "layer": layer, "source": source}
    cases.append({**stored, **fields, "heatmaps": store(f"{name}.heatmaps", heatmaps), "tolerance": TOLERANCE})
    print(f"{name:40s} std {flat.std(1).min():.3f}", flush=True)


def picture(shape, seed: int) -> torch.Tensor:
    """Blobs of colour, 0 to 1: smooth, as photos are."""
    coarse = torch.rand([*shape[:-2], 6, 8], generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=list(shape[-2:]), mode="bicubic").clamp(0, 1)


# Segmentation -------------------------------------------------------------------------------------------------


def segmentation(name: str, make, seed: int) -> None:
    model = models.seeded(make, seed)
    file = export(name, model)
    x = (picture((2, 3, 48, 64), seed) - 0.45) / 0.22
    stored = store(f"{name}.input", x)
    with torch.no_grad():
        best = model(x)["out"].argmax(1)
    present = [sorted(set(row.flatten().tolist())) for row in best]
    assert all(len(each) > 1 for each in present), present
    categories = [each[-1] for each in present]
    masks = np.stack([np.float32((best[i] == categories[i]).numpy()) for i in range(2)])
    specs = [
        [{"kind": "SemanticSegmentationTarget", "category": c, "mask": masks[i]}] for i, c in enumerate(categories)
    ]
    targets = library.new_targets(specs)
    chosen = library.Select(model, "out")
    fields = {
        "output": "out",
        "categories": categories,
        "present": present,
        "masks": store(f"{name}.masks", masks),
    }
    for method in ("GradCAM", "HiResCAM", "SegEigenCAM", "AblationCAM"):
        layer = "backbone.layer4"
        constructor = {"batch_size": 16} if method == "AblationCAM" else {}
        maps = library.run(method, chosen, [f"model.{layer}"], x, targets, constructor=constructor)
        case(f"{name}-{method.lower()}", method, file, stored, layer, maps, LIBRARY, **fields)


# Detection ----------------------------------------------------------------------------------------------------


class AllLevels(AblationLayerFasterRCNN):
    """Upstream's, which is fixed to 256 channels a level."""

    def __call__(self, x):
        names = list(self.activations)
        for row, channel in enumerate(self.indices[: self.activations["pool"].size(0)]):
            level = names[channel // models.FPN_CHANNELS]
            self.activations[level][row, channel % models.FPN_CHANNELS] = -1000
        return self.activations


def levels_of(model, x, targets):
    """Of the backbone's output each level, and the gradient of the targets' sum: plain autograd, in float64."""
    model, kept = reference.doubled(model), {}

    def keep(module, inputs, output):
        for name, level in output.items():
            kept[name] = level.detach().requires_grad_(True)
        return dict(kept)

    handle = model.backbone.register_forward_hook(keep)
    total = sum(target(row) for target, row in zip(targets, model(list(x.double())), strict=True))
    handle.remove()
    gradients = torch.autograd.grad(total.sum(), list(kept.values()), allow_unused=True)
    assert sum(g is not None and bool(g.abs().max() > 0) for g in gradients) >= 2
    return [
        (level.detach(), torch.zeros_like(level) if g is None else g)
        for level, g in zip(kept.values(), gradients, strict=True)
    ]


def pyramid_map(method: str, levels) -> torch.Tensor:
    """Each level weighted for itself, resized to the finest, all their channels summed (or projected)."""
    size = levels[0][0].shape[2:]
    weighted = []
    for a, g in levels:
        if method == "HiResCAM":
            product = a * g
        elif method == "EigenGradCAM":
            product = a * g
        elif method == "LayerCAM":
            product = a * g.clamp(min=0)
        else:
            product = reference.wide(reference.weights_of(method, a, g), a) * a
        weighted.append(F.interpolate(product, size=size, mode="bilinear", align_corners=False))
    channels = torch.cat(weighted, 1)
    return reference.principal(channels) if method == "EigenGradCAM" else channels.sum(1)


def own_boxes(found, shift: float) -> list:
    """Targets from the model's own detections, a little aside: where two sides are the same, an overlap has no gradient
    (a minimum of equals), and rounding alone would choose one."""
    targets = []
    for image in found:
        boxes = image["boxes"].numpy() + np.float32([shift, -shift, shift / 2, shift])
        labels = [int(n) for n in image["labels"]]
        spec = {"labels": labels, "boundingBoxes": boxes, "iouThreshold": 0.5}
        targets.append([{"kind": "FasterRCNNBoxScoreTarget", **spec}])
    return targets


def detection(seed: int) -> None:
    model = models.seeded(models.faster_rcnn, seed)
    file = export("faster_rcnn", model)
    # The model's transform resizes to 64 pixels; 96 and 70 it must, 64 not.
    for name, shape in {"frcnn": (2, 3, 64, 96), "frcnn-resized": (1, 3, 96, 70)}.items():
        x = picture(shape, 21)
        stored = store(f"{name}.input", x)
        with torch.no_grad():
            found = model(list(x))
        specs = own_boxes(found, 0.75)
        aims = library.new_targets(specs)
        scores = [float(target(row)) for target, row in zip(aims, found, strict=True)]
        counts = [len(image["boxes"]) for image in found]
        assert min(counts) >= 2, counts
        print(name, counts, scores, [image["scores"].tolist() for image in found])
        fields = {
            "output": [1],
            "boxes": [
                {"labels": spec["labels"], "boundingBoxes": spec["boundingBoxes"].tolist(), "iouThreshold": 0.5}
                for (spec,) in specs
            ],
            "detections": [
                {key: image[key].flatten().tolist() for key in ("boxes", "labels", "scores")} for image in found
            ],
            "scores": scores,
        }
        run = lambda method, layer, *rest, **more: library.run(method, model, [layer], x, aims, *rest, **more)
        transform = fasterrcnn_reshape_transform
        for method in ("EigenCAM", "KPCACAM", "FEM"):
            maps = run(method, "backbone", transform)
            case(f"{name}-{method.lower()}", method, file, stored, "backbone", maps, LIBRARY, **fields)
        options = {"constructor": {"batch_size": 16, "ablation_layer": AllLevels()}}
        maps = run("AblationCAM", "backbone", transform, **options)
        source = f"{LIBRARY}, with {models.FPN_CHANNELS} channels a level"
        case(f"{name}-ablationcam", "AblationCAM", file, stored, "backbone", maps, source, **fields)
        for method in ("GradCAM", "HiResCAM", "LayerCAM"):
            layer = "backbone.body.layer3"
            maps = run(method, layer)
            case(f"{name}-{method.lower()}-layer", method, file, stored, layer, maps, LIBRARY, **fields)
        levels = levels_of(model, x, aims)
        for method in ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "HiResCAM", "LayerCAM", "EigenGradCAM"):
            maps = reference.heatmaps([pyramid_map(method, levels)], x.shape[2:]).float().numpy()
            source = "PyTorch's autograd, by hand"
            # GradCAM++ divides by a sum that may be near zero: float32 is not enough to compare.
            precise = {"dtype": "float64"} if method == "GradCAMPlusPlus" else {}
            case(f"{name}-{method.lower()}-pyramid", method, file, stored, "backbone", maps, source, **fields, **precise)


def yolo() -> None:
    model = models.seeded(models.Yolo, 31)
    file = export("yolo", model)
    target = models.BestBoxes(2, 3)
    module = export("best_boxes", target)
    x = picture((2, 3, 64, 80), 41)
    stored = store("yolo.input", x)
    with torch.no_grad():
        scores = [float(target(row)) for row in model(x)]
    for method in ("GradCAM", "LayerCAM", "EigenCAM", "ScoreCAM"):
        maps = library.run(method, model, ["body.layer4"], x, [target, target], batch_size=16)
        fields = {"target": module, "scores": scores}
        case(f"yolo-{method.lower()}", method, file, stored, "body.layer4", maps, LIBRARY, **fields)


def unknown_operator() -> None:
    """A model with an operator that no library has."""
    acme = torch.library.Library("acme", "DEF")
    acme.define("twice(Tensor x) -> Tensor")
    acme.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")

    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.acme.twice(x)

    export("unknown_operator", Twice())


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    segmentation("deeplabv3", models.deeplabv3, 43)
    segmentation("fcn", models.fcn, 22)
    detection(27)
    yolo()
    unknown_operator()
    (FOLDER / "golden.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")
    total = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{len(cases)} cases, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
