"""Writes test/fixtures/detection: small segmentation and detection models of torchvision's own classes, scripted, and
the values that pytorch-grad-cam or, for gradients of a feature pyramid, PyTorch's autograd gives for them.

The index is golden.json; arrays are little-endian float32 beside it. Of each case `source` says whose value it is, and
`referenceError` how far its float32 result is from the expected one, in double precision (float64_result.py). Masks and
boxes are those that the float32 model finds.
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
from float64_result import doubled, errors_of
from torchscript_file import save_torchscript

FOLDER = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "detection"
LIBRARY = "pytorch-grad-cam"
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


def in_both(compute, model, x):
    """compute(model, x) in double precision, then in single."""
    return compute(doubled(model), x.double()), compute(model, x)


def case(name, method, model, x, layer, both, source, **fields) -> None:
    """`both`: expected values by name, heatmaps among them, in double and in single precision."""
    double, single = both
    flat = np.asarray(double["heatmaps"]).reshape(len(double["heatmaps"]), -1)
    assert (flat.max(1) > 0.99).all() and (flat.std(1) > 0.02).all(), (name, flat.max(1), flat.std(1))
    errors = errors_of(double, single, name)
    stored = {"name": name, "method": method, "model": model, "input": x, "layer": layer, "source": source}
    values = {**double, "heatmaps": store(f"{name}.heatmaps", double["heatmaps"])}
    cases.append({**stored, **fields, **values, "referenceError": errors})
    print(f"{name:40s} std {flat.std(1).min():.3f}  {errors}", flush=True)


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
    fields = {
        "output": "out",
        "categories": categories,
        "present": present,
        "masks": store(f"{name}.masks", masks),
    }
    for method in ("GradCAM", "HiResCAM", "SegEigenCAM", "AblationCAM"):
        layer = "backbone.layer4"
        constructor = {"batch_size": 16} if method == "AblationCAM" else {}

        def run(model, x):
            chosen = library.Select(model, "out")
            return {"heatmaps": library.run(method, chosen, [f"model.{layer}"], x, targets, constructor=constructor)}

        both = in_both(run, model, x)
        case(f"{name}-{method.lower()}", method, file, stored, layer, both, LIBRARY, **fields)


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
    """Of the backbone's output each level, and the gradient of the targets' sum: plain autograd."""
    kept = {}

    def keep(module, inputs, output):
        for name, level in output.items():
            kept[name] = level.detach().requires_grad_(True)
        return dict(kept)

    handle = model.backbone.register_forward_hook(keep)
    total = sum(target(row) for target, row in zip(targets, model(list(x)), strict=True))
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
    # TorchScript makes float32 tensors of these lists, whatever the model's type; so must the reference in double precision.
    for name in ("image_mean", "image_std"):
        setattr(model.transform, name, [float(np.float32(value)) for value in getattr(model.transform, name)])
    # The model's transform resizes to 64 pixels; 96 and 70 it must, 64 not.
    for name, shape in {"frcnn": (2, 3, 64, 96), "frcnn-resized": (1, 3, 96, 70)}.items():
        x = picture(shape, 21)
        stored = store(f"{name}.input", x)
        with torch.no_grad():
            found = model(list(x))
        specs = own_boxes(found, 0.75)
        aims = library.new_targets(specs)
        counts = [len(image["boxes"]) for image in found]
        assert min(counts) >= 2, counts
        print(name, counts, [image["scores"].tolist() for image in found])
        fields = {
            "output": [1],
            "boxes": [
                {"labels": spec["labels"], "boundingBoxes": spec["boundingBoxes"].tolist(), "iouThreshold": 0.5}
                for (spec,) in specs
            ],
        }

        def detections(model, x):
            with torch.no_grad():
                found = model(list(x))
            return {
                "detections": [
                    {key: image[key].flatten().tolist() for key in ("boxes", "labels", "scores")} for image in found
                ],
                "scores": [float(target(row)) for target, row in zip(aims, found, strict=True)],
            }

        def by_library(suffix, method, layer, *transform, source=LIBRARY, **options):
            def run(model, x):
                maps = library.run(method, model, [layer], x, aims, *transform, **options)
                return {"heatmaps": maps, **detections(model, x)}

            case(f"{name}-{suffix}", method, file, stored, layer, in_both(run, model, x), source, **fields)

        for method in ("EigenCAM", "KPCACAM", "FEM"):
            by_library(method.lower(), method, "backbone", fasterrcnn_reshape_transform)
        source = f"{LIBRARY}, with {models.FPN_CHANNELS} channels a level"
        options = {"constructor": {"batch_size": 16, "ablation_layer": AllLevels()}}
        by_library("ablationcam", "AblationCAM", "backbone", fasterrcnn_reshape_transform, source=source, **options)
        for method in ("GradCAM", "HiResCAM", "LayerCAM"):
            by_library(f"{method.lower()}-layer", method, "backbone.body.layer3")
        for method in ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "HiResCAM", "LayerCAM", "EigenGradCAM"):

            def run(model, x):
                maps = reference.heatmaps([pyramid_map(method, levels_of(model, x, aims))], x.shape[2:])
                return {"heatmaps": maps, **detections(model, x)}

            source = "PyTorch's autograd, by hand"
            both = in_both(run, model, x)
            case(f"{name}-{method.lower()}-pyramid", method, file, stored, "backbone", both, source, **fields)


def yolo() -> None:
    model = models.seeded(models.Yolo, 31)
    file = export("yolo", model)
    target = models.BestBoxes(2, 3)
    module = export("best_boxes", target)
    x = picture((2, 3, 64, 80), 41)
    stored = store("yolo.input", x)
    for method in ("GradCAM", "LayerCAM", "EigenCAM", "ScoreCAM"):

        def run(model, x):
            with torch.no_grad():
                scores = [float(target(row)) for row in model(x)]
            maps = library.run(method, model, ["body.layer4"], x, [target, target], batch_size=16)
            return {"heatmaps": maps, "scores": scores}

        both = in_both(run, model, x)
        case(f"yolo-{method.lower()}", method, file, stored, "body.layer4", both, LIBRARY, target=module)


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
