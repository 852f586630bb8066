"""Cases: signals, volumes, several inputs, half precision."""

import numpy as np
import torch

import family_library as library
import family_models as models
import family_reference as reference
from family_methods import BY_HAND, LIBRARY, PLAIN, PROJECTED, noise

RESIZED = "pytorch-grad-cam, resized linearly"


def volumes(w) -> None:
    _, model, x = w.models["volume"]
    classes = [[1], [2]]
    targets, layers = library.new_targets(classes), ["layer2.0"]
    for method in PLAIN + PROJECTED:
        w.case(
            f"volume-{method.lower()}",
            f"{method} of a volume; its resize trilinear",
            method,
            "volume",
            layers=layers,
            targets=classes,
            heatmaps=library.run(method, model, layers, x, targets),
            source=RESIZED,
            check=reference.explain(method, model, layers, x, targets),
        )
    two = ["layer1.0", "layer2.0"]
    w.case(
        "volume-two-layers",
        "two layers, one of the input's size",
        "GradCAM",
        "volume",
        layers=two,
        targets=classes,
        heatmaps=library.run("GradCAM", model, two, x, targets),
        source=RESIZED,
    )
    rest = [[{"kind": "ClassifierOutputReST", "category": c}] for (c,) in classes]
    aims = library.new_targets(rest)
    w.case(
        "volume-shapleycam",
        "ShapleyCAM of a volume",
        "ShapleyCAM",
        "volume",
        layers=layers,
        targets=rest,
        heatmaps=library.run("ShapleyCAM", model, layers, x, aims),
        check=reference.shapley(model, layers, x, aims),
        source=RESIZED,
    )
    w.case(
        "volume-refinecam",
        "RefineCAM of a volume",
        "RefineCAM",
        "volume",
        layers=two,
        targets=classes,
        options={"baseMethod": "GradCAMPlusPlus"},
        heatmaps=library.run("RefineCAM", model, two, x, targets),
        source=RESIZED,
    )
    w.case(
        "volume-eigen-smooth",
        "eigen_smooth of a volume",
        "GradCAM",
        "volume",
        layers=layers,
        targets=classes,
        options={"eigenSmooth": True},
        heatmaps=library.run("GradCAM", model, layers, x, targets, eigen_smooth=True),
        source=RESIZED,
    )
    beyond(w, "volume", layers[0], classes)


def beyond(w, name, layer, classes) -> None:
    """What pytorch-grad-cam cannot do on signals and volumes."""
    _, model, x = w.models[name]
    targets = library.new_targets(classes)
    by_hand = {
        "ScoreCAM": reference.score_cam(model, layer, x, targets),
        "AblationCAM": reference.ablation_cam(model, layer, x, targets),
        "FullGrad": reference.full_grad(model, x, targets),
    }
    for method, maps in by_hand.items():
        layers = {} if method == "FullGrad" else {"layers": [layer]}
        w.case(
            f"{name}-{method.lower()}",
            f"{method}, as in two dimensions",
            method,
            name,
            targets=classes,
            heatmaps=maps,
            source=BY_HAND,
            **layers,
        )
    parts = []
    for flipped in (False, True):
        for factor in (0.9, 1, 1.1):
            maps = reference.explain("GradCAM", model, [layer], (x.flip(-1) if flipped else x) * factor, targets)
            parts.append(maps.flip(-1) if flipped else maps)
    w.case(
        f"{name}-aug-smooth",
        "aug_smooth: the flip is of the last axis (upstream flips a volume's height)",
        "GradCAM",
        name,
        layers=[layer],
        targets=classes,
        options={"augSmooth": True},
        heatmaps=torch.stack(parts).mean(0),
        source=BY_HAND,
        notRescaled=True,
    )


def signals(w) -> None:
    _, model, x = w.models["signal"]
    classes, layers = [[1], [2]], ["layer2.0"]
    targets = library.new_targets(classes)
    for method in PLAIN + PROJECTED:
        w.case(
            f"signal-{method.lower()}",
            f"{method} of a signal",
            method,
            "signal",
            layers=layers,
            targets=classes,
            heatmaps=reference.explain(method, model, layers, x, targets),
            source=BY_HAND,
        )
    rest = [[{"kind": "ClassifierOutputReST", "category": c}] for (c,) in classes]
    w.case(
        "signal-shapleycam",
        "ShapleyCAM of a signal",
        "ShapleyCAM",
        "signal",
        layers=layers,
        targets=rest,
        heatmaps=reference.shapley(model, layers, x, library.new_targets(rest)),
        source=BY_HAND,
    )
    w.case(
        "signal-eigen-smooth",
        "eigen_smooth of a signal",
        "LayerCAM",
        "signal",
        layers=layers,
        targets=classes,
        options={"eigenSmooth": True},
        source=BY_HAND,
        heatmaps=reference.explain("LayerCAM", model, layers, x, targets, eigen_smooth=True),
    )
    beyond(w, "signal", layers[0], classes)


def several_inputs(w) -> None:
    _, model, image, vector = w.models["two-inputs"]
    classes = [[1], [3]]
    targets, layers = library.new_targets(classes), ["trunk.layer2.0"]
    twin = models.WithSecondInput(model, vector)
    for method in ("GradCAM", "LayerCAM", "EigenCAM"):
        w.case(
            f"two-inputs-{method.lower()}",
            "an image and a vector (pytorch-grad-cam got a twin with the vector fixed)",
            method,
            "two-inputs",
            layers=layers,
            targets=classes,
            source=LIBRARY,
            heatmaps=library.run(method, twin, [f"model.{path}" for path in layers], image, targets),
        )
    rows = []
    for i, target in enumerate(targets):
        single = models.WithSecondInput(model, vector[i : i + 1])
        for method in ("ScoreCAM", "AblationCAM"):
            rows.append((method, library.run(method, single, [f"model.{layers[0]}"], image[i : i + 1], [target])))
    for method in ("ScoreCAM", "AblationCAM"):
        w.case(
            f"two-inputs-{method.lower()}",
            "masks fall on the image only; each image keeps its own vector",
            method,
            "two-inputs",
            layers=layers,
            targets=classes,
            source=LIBRARY,
            heatmaps=np.concatenate([maps for name, maps in rows if name == method]),
        )


def half_precision(w) -> None:
    classes, layers = [[1], [3]], ["layer2.0"]
    targets = library.new_targets(classes)
    given = noise((2, 3, 24, 32), 114)  # at which no ReLU's input is so near zero that float16 takes the other side
    for name, dtype, tolerance in (("float16", torch.float16, 0.01), ("bfloat16", torch.bfloat16, 0.05)):
        w.add_model(
            f"resnet-{name}", models.seeded(models.Residual, 3).to(dtype), given.to(dtype), tolerance=tolerance
        )
        _, model, image = w.models[f"resnet-{name}"]
        activations, gradients, _ = reference.capture(model, layers, image, targets)
        a, g = activations[0].detach().double(), gradients[0].double()
        for method in ("GradCAM", "HiResCAM", "LayerCAM", "GradCAMPlusPlus", "EigenCAM"):
            maps = reference.heatmaps([reference.raw_map(method, a, g)], image.shape[2:])
            w.case(
                f"{name}-{method.lower()}",
                f"a {name} model; the reference's error is that of activations and gradients captured in {name}",
                method,
                f"resnet-{name}",
                layers=layers,
                targets=classes,
                heatmaps=maps,
                source=BY_HAND,
                inputDtype=name,
                largestError=10 * torch.finfo(dtype).eps,
            )


def write(w) -> None:
    w.group = "shapes"
    w.add_model("volume", models.seeded(lambda: models.Residual(1, 4, 3, 4), 5), noise((2, 1, 7, 10, 12), 202))
    w.add_model("signal", models.seeded(lambda: models.Residual(2, 4, 1), 18), noise((2, 2, 61), 203))
    w.add_model("two-inputs", models.seeded(models.TwoInputs, 3), noise((2, 3, 24, 32), 204), noise((2, 6), 205))
    volumes(w)
    signals(w)
    several_inputs(w)
    half_precision(w)
