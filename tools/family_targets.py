"""Cases: GradCAM with every target."""

import numpy as np
import torch
from pytorch_grad_cam.ablation_layer import AblationLayerFasterRCNN
from pytorch_grad_cam.utils.reshape_transforms import fasterrcnn_reshape_transform

import family_library as library
import family_models as models
from family_methods import LAST, LIBRARY, noise


def same(kind: str, *arguments, count: int = 2) -> list:
    """A target of one kind for each image: `arguments` are {name: value} for each, or nothing."""
    return [[{"kind": kind, **(arguments[i] if arguments else {})}] for i in range(count)]


def classifiers(w) -> None:
    vectors = np.random.RandomState(1).randn(2, 5).astype(np.float32)
    cases = {
        "classifier": ("class indices", [[0], [2]]),
        "softmax": ("the class's probability", same("ClassifierOutputSoftmaxTarget", {"category": 0}, {"category": 2})),
        "rest": ("logit + log of the probability", same("ClassifierOutputReST", {"category": 0}, {"category": 3})),
        "finer": (
            "against other classes, weighed with their probability (not detached)",
            same(
                "FinerWeightedTarget",
                {"mainCategory": 3, "comparisonCategories": [1, 4], "alpha": 0.8},
                {"mainCategory": 1, "comparisonCategories": [0, 2, 3], "alpha": 1.0},
            ),
        ),
        "vector": ("dot product with a vector", same("VectorTarget", {"vector": vectors[0]}, {"vector": vectors[1]})),
        "cosine": (
            "cosine similarity to a vector, eps 1e-8",
            same("CosineSimilarityTarget", {"vector": vectors[0]}, {"vector": vectors[1]}),
        ),
        "concept": (
            "1 - cosine similarity",
            same("DifferenceFromConceptTarget", {"vector": -vectors[0]}, {"vector": -vectors[1]}),
        ),
        "torchscript": (
            "a scripted module, output[2] - logsumexp(output) / 2, of one image's output [classes]",
            [[{"kind": "TorchScriptTarget", "module": torch.jit.script(models.Margin())}]] * 2,
        ),
    }
    for name, (description, targets) in cases.items():
        w.case(
            f"target-{name}",
            description,
            "GradCAM",
            "resnet",
            layers=LAST,
            targets=with_file(w, targets),
            heatmaps=maps_of(w, "resnet", LAST, targets),
            expected={"scores": w.scores("resnet", targets)},
            source=LIBRARY,
        )
    cases = {
        f"function-{name}": (f"a function: {name}", same("function", {"name": name}, {"name": name}))
        for name in library.FUNCTIONS
    }
    for name, (description, targets) in cases.items():
        w.case(
            f"target-{name}",
            description,
            "GradCAM",
            "resnet",
            layers=LAST,
            targets=targets,
            heatmaps=maps_of(w, "resnet", LAST, targets),
            expected={"scores": w.scores("resnet", targets)},
            source=LIBRARY,
        )
    binary = {
        "binary": (
            "category 1: the output; category 0: minus the output",
            same("BinaryClassifierOutputTarget", {"category": 1}, {"category": 0}),
        ),
        "binary-swapped": (
            "the other way round",
            same("BinaryClassifierOutputTarget", {"category": 0}, {"category": 1}),
        ),
        "raw-single": ("the one output", same("RawScoresOutputTarget")),
    }
    for name, (description, targets) in binary.items():
        w.case(
            f"target-{name}",
            description + " (a model of one output)",
            "GradCAM",
            "binary",
            layers=LAST,
            targets=targets,
            heatmaps=maps_of(w, "binary", LAST, targets),
            expected={"scores": w.scores("binary", targets)},
            source=LIBRARY,
        )

    def summed(output):
        return output.sum()

    _, model, x = w.models["resnet"]
    maps = library.run("GradCAM", model, LAST, x, [summed, summed])
    w.case(
        "target-raw-sum",
        "all of several outputs, where upstream fails: their sum",
        "GradCAM",
        "resnet",
        layers=LAST,
        targets=same("RawScoresOutputTarget"),
        heatmaps=maps,
        source=LIBRARY + ", the target summed",
        expected={"scores": w.scores("resnet", same("RawScoresOutputTarget"))},
    )


def with_file(w, targets):
    """The scripted target is saved once, as a model of its own."""
    if not isinstance(targets[0][0], dict) or "module" not in targets[0][0]:
        return targets
    file = w.add_model("target-margin", models.Margin())
    return [[{"kind": "TorchScriptTarget", "module": file}]] * 2


def maps_of(w, model, layers, targets, module=None):
    _, own, x = w.models[model]
    return library.run("GradCAM", module or own, layers, x, library.new_targets(targets))


def segmentation(w) -> None:
    rows, columns = np.mgrid[0:24, 0:32]
    masks = [np.float32((rows < 12) & (columns > 8)), np.float32((rows - 14) ** 2 + (columns - 10) ** 2 < 60)]
    targets = same("SemanticSegmentationTarget", *[{"category": c, "mask": m} for c, m in zip((2, 1), masks)])
    for name, output in {"segmentation": None, "segmentation-dict": "out"}.items():
        _, model, x = w.models[name]
        module = model if output is None else library.Select(model, output)
        layers = ["trunk.relu"]
        with torch.no_grad():
            scores = [float(t(row)) for t, row in zip(library.new_targets(targets), module(x))]
        inner = layers if output is None else ["model.trunk.relu"]
        fields = {} if output is None else {"output": output}
        w.case(
            f"target-{name}",
            "the sum of a class's scores in a mask" + (", of a dict's entry" if output else ""),
            "GradCAM",
            name,
            layers=layers,
            targets=targets,
            heatmaps=maps_of(w, name, inner, targets, module),
            expected={"scores": scores},
            source=LIBRARY,
            **fields,
        )
        if output is None:
            for method in ("SegEigenCAM", "HiResCAM"):
                w.case(
                    f"target-segmentation-{method.lower()}",
                    f"{method} of it",
                    method,
                    name,
                    layers=layers,
                    targets=targets,
                    source=LIBRARY,
                    heatmaps=library.run(method, model, layers, x, library.new_targets(targets)),
                )


def detection(w) -> None:
    _, model, x = w.models["detector"]
    with torch.no_grad():
        found = model(x)
    targets = []
    for image in found:
        boxes = image["boxes"].numpy() + np.float32([[1, -1, 0.5, 1], [-0.5, 1, 1, -1], [0, 0, 1, 1]])
        labels = image["labels"].numpy().copy()
        labels[2] = labels[2] % 3 + 1
        targets.append(
            [
                {
                    "kind": "FasterRCNNBoxScoreTarget",
                    "labels": [int(n) for n in labels],
                    "boundingBoxes": boxes,
                    "iouThreshold": 0.5,
                }
            ]
        )
    aims = library.new_targets(targets)
    scores = [float(target(row)) for target, row in zip(aims, found)]
    assert all(1.5 < score < 4 for score in scores), scores
    layers = ["backbone.level1"]
    w.case(
        "target-boxes",
        "Faster R-CNN boxes: IoU + score of the best detection of each reference box, if IoU > 0.5 and "
        "the label is right (the third's is wrong)",
        "GradCAM",
        "detector",
        layers=layers,
        targets=targets,
        heatmaps=library.run("GradCAM", model, layers, x, aims),
        expected={"scores": scores},
        source=LIBRARY,
    )
    pyramid(w, model, x, targets, aims)


def pyramid(w, model, x, targets, aims) -> None:
    """The layer is the backbone, whose output is a dict of five levels."""

    class EightChannels(AblationLayerFasterRCNN):
        """Upstream's, which is fixed to 256 channels a level."""

        def __call__(self, x):
            names = list(self.activations)
            for row, channel in enumerate(self.indices[: self.activations["pool"].size(0)]):
                self.activations[names[channel // 8]][row, channel % 8] = -1000
            return self.activations

    options = {"reshapeTransform": {"kind": "featurePyramid"}}
    maps = library.run("EigenCAM", model, ["backbone"], x, aims, fasterrcnn_reshape_transform)
    w.case(
        "target-boxes-fpn-eigencam",
        "all levels: |A|, bilinear to the size of `pool`, concatenated",
        "EigenCAM",
        "detector",
        layers=["backbone"],
        targets=targets,
        options=options,
        heatmaps=maps,
        source=LIBRARY,
    )
    maps = library.run(
        "AblationCAM",
        model,
        ["backbone"],
        x,
        aims,
        fasterrcnn_reshape_transform,
        constructor={"batch_size": 40, "ablation_layer": EightChannels()},
    )
    w.case(
        "target-boxes-fpn-ablationcam",
        "one of the 5 x 8 channels a pass becomes -1000",
        "AblationCAM",
        "detector",
        layers=["backbone"],
        targets=targets,
        options=options,
        heatmaps=maps,
        source=LIBRARY + ", with 8 channels a level",
    )


def write(w) -> None:
    w.group = "targets"
    w.add_model("binary", models.seeded(lambda: models.Residual(3, 1), 5), noise((2, 3, 24, 32), 105))
    w.add_model("segmentation", models.seeded(models.Segmentation, 6), noise((2, 3, 24, 32), 106))
    w.add_model("segmentation-dict", models.seeded(models.SegmentationDict, 6), noise((2, 3, 24, 32), 106))
    w.add_model("detector", models.seeded(models.Detector, 7, linear=6.0), noise((2, 3, 24, 32), 107))
    classifiers(w)
    segmentation(w)
    detection(w)
