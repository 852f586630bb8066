"""Cases: every method on one small residual CNN."""

import numpy as np
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer

import family_library as library
import family_models as models
import family_reference as reference

LIBRARY, BY_HAND = "pytorch-grad-cam", "by hand"
LAST, TWO = ["layer2.0"], ["layer1.0", "layer2.1"]
TARGETS = [[1], [3]]  # classes that something in the images speaks for, in each layer
PLAIN = ["GradCAM", "HiResCAM", "GradCAMElementWise", "GradCAMPlusPlus", "XGradCAM", "LayerCAM", "FEM"]
PROJECTED = ["EigenCAM", "EigenGradCAM", "SegEigenCAM", "KPCACAM"]


def noise(shape, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def grid_case(w, name, method, model, layers, targets, *, transform=None, description=None, prefix="", **fields):
    """A method that needs activations and gradients only: the library's value, checked by hand."""
    _, module, x = w.models[model]
    aims = library.new_targets(targets)
    maps = library.run(method, module, layers, x, aims, transform)
    by_hand = reference.explain(method, module, layers, x, aims, transform)
    w.case(
        name,
        description or f"{method}, {', '.join(layers)}",
        method,
        model,
        layers=layers,
        targets=targets,
        heatmaps=maps,
        check=by_hand,
        expected={"scores": w.scores(model, targets)},
        source=LIBRARY,
        **fields,
    )


def basic(w) -> None:
    for method in PLAIN + PROJECTED:
        grid_case(w, f"resnet-{method.lower()}", method, "resnet", LAST, TARGETS)
        grid_case(w, f"resnet-two-layers-{method.lower()}", method, "resnet", TWO, TARGETS)
        if method not in ("FEM",):
            grid_case(w, f"gray-{method.lower()}", method, "gray", ["layer2.0"], [[2], [0]])
    _, model, x = w.models["resnet"]
    targets = library.new_targets(TARGETS)
    np.random.seed(0)
    maps = library.run("RandomCAM", model, LAST, x, targets)
    np.random.seed(0)
    weights = np.random.uniform(-1, 1, size=(2, 12))
    w.case(
        "resnet-randomcam",
        "RandomCAM once its weights (uniform in -1..1 per image and channel) are drawn",
        "RandomCAM",
        "resnet",
        layers=LAST,
        targets=TARGETS,
        options={"weights": weights},
        heatmaps=maps,
        source=LIBRARY,
    )
    maps = library.run("FEM", model, LAST, x, targets, constructor={"k": 1})
    w.case(
        "resnet-fem-k1",
        "FEM with k = 1",
        "FEM",
        "resnet",
        layers=LAST,
        targets=TARGETS,
        options={"k": 1},
        heatmaps=maps,
        source=LIBRARY,
    )


def perturbing(w) -> None:
    _, model, x = w.models["resnet"]
    targets = library.new_targets(TARGETS)
    for name, layers in {"resnet-scorecam": LAST, "resnet-scorecam-conv": ["down"]}.items():
        w.case(
            name,
            f"ScoreCAM, {layers[0]}, ragged chunks",
            "ScoreCAM",
            "resnet",
            layers=layers,
            targets=TARGETS,
            options={"batchSize": 5},
            heatmaps=library.run("ScoreCAM", model, layers, x, targets, batch_size=5),
            check=reference.score_cam(model, layers[0], x, targets),
            source=LIBRARY,
        )
    for method in ("ScoreCAM", "AblationCAM"):
        w.case(
            f"resnet-two-layers-{method.lower()}",
            f"{method}, {', '.join(TWO)}",
            method,
            "resnet",
            layers=TWO,
            targets=TARGETS,
            heatmaps=library.run(method, model, TWO, x, targets),
            source=LIBRARY,
        )
    cases = {
        "resnet-ablationcam": ("every channel, ReLU layer: fill 0", "layer2.0", TARGETS),
        "resnet-ablationcam-negative-score": ("a negative score divides with its sign", "layer2.0", None),
        "resnet-ablationcam-signed": (
            "a layer with negative values, ReLU behind: fill minimum - 1e7",
            "layer2.1.bn",
            TARGETS,
        ),
        "resnet-ablationcam-linear": (
            "a layer with negative values, a convolution behind; one channel a pass, "
            "because upstream's fill drifts by -1e7 with each row of a batch",
            "down",
            TARGETS,
        ),
    }
    with torch.no_grad():
        lowest = [[int(row.argmin())] for row in model(x)]
        assert (model(x).min(1).values < 0).all()
    for name, (description, layer, classes) in cases.items():
        classes = classes or lowest
        aims = library.new_targets(classes)
        maps = library.run("AblationCAM", model, [layer], x, aims, constructor={"batch_size": 1})
        w.case(
            name,
            description,
            "AblationCAM",
            "resnet",
            layers=[layer],
            targets=classes,
            heatmaps=maps,
            check=reference.ablation_cam(model, layer, x, aims),
            source=LIBRARY,
        )

    class TopOnly(AblationLayer):
        """Only the channels that score highest; upstream takes as many of the lowest too."""

        def activations_to_be_ablated(self, activations, ratio_channels_to_ablate=1.0):
            both = super().activations_to_be_ablated(activations, ratio_channels_to_ablate)
            self.indices = both[: len(both) // 2]
            return self.indices

    for name, ratio in {"half": 0.5, "quarter": 0.25, "three-quarters": 0.75}.items():
        build = {"batch_size": 4, "ratio_channels_to_ablate": ratio}
        maps = library.run(
            "AblationCAM", model, ["layer2.1"], x, targets, constructor={**build, "ablation_layer": TopOnly()}
        )
        expected = {}
        if ratio <= 0.5:
            expected["upstream"] = library.run("AblationCAM", model, ["layer2.1"], x, targets, constructor=build)
        w.case(
            f"resnet-ablationcam-{name}",
            f"ratio {ratio}: floor(C r) channels, those whose |A| lies most inside the mask"
            " |PC1| > 0.01; others weigh 0. Upstream takes as many of the lowest too: `upstream`",
            "AblationCAM",
            "resnet",
            layers=["layer2.1"],
            targets=TARGETS,
            options={"ratioChannelsToAblate": ratio},
            heatmaps=maps,
            expected=expected,
            source=LIBRARY + ", its choice of channels mended",
        )


def wrapping(w) -> None:
    _, model, x = w.models["resnet"]
    targets = library.new_targets(TARGETS)
    for name in ("resnet", "gray"):
        _, module, image = w.models[name]
        aims = library.new_targets([[1], [3]])
        w.case(
            f"{name}-fullgrad",
            "FullGrad: input and every bias",
            "FullGrad",
            name,
            targets=TARGETS,
            heatmaps=library.run("FullGrad", module, [], image, aims),
            check=reference.full_grad(module, image, aims),
            source=LIBRARY,
        )
    w.case(
        "resnet-fullgrad-eigen-smooth",
        "the terms scaled, resized to an eighth (4 x 3), their PC1, scaled, resized back",
        "FullGrad",
        "resnet",
        targets=TARGETS,
        options={"eigenSmooth": True},
        heatmaps=library.run("FullGrad", model, [], x, targets, eigen_smooth=True),
        source=LIBRARY,
    )
    w.case(
        "resnet-fullgrad-aug-smooth",
        "the mean of the six augmentations' maps",
        "FullGrad",
        "resnet",
        targets=TARGETS,
        options={"augSmooth": True},
        heatmaps=library.run("FullGrad", model, [], x, targets, aug_smooth=True),
        source=LIBRARY,
        notRescaled=True,
    )
    rest = [[{"kind": "ClassifierOutputReST", "category": c}] for (c,) in TARGETS]
    aims = library.new_targets(rest)
    for name, layers in {"last": ["layer2.1"], "first": ["layer1.0"]}.items():
        maps = library.run("ShapleyCAM", model, layers, x, aims)
        plain = library.run("GradCAM", model, layers, x, aims)
        print("   ShapleyCAM against GradCAM", np.abs(plain - maps).max())
        w.case(
            f"resnet-shapleycam-{name}",
            "ReST targets, so that the Hessian counts",
            "ShapleyCAM",
            "resnet",
            layers=layers,
            targets=rest,
            heatmaps=maps,
            check=reference.shapley(model, layers, x, aims),
            source=LIBRARY,
        )
    w.case(
        "resnet-shapleycam-plain",
        "a class's logit of a ReLU network: as GradCAM",
        "ShapleyCAM",
        "resnet",
        layers=LAST,
        targets=TARGETS,
        heatmaps=library.run("ShapleyCAM", model, LAST, x, targets),
        check=library.run("GradCAM", model, LAST, x, targets),
        source=LIBRARY,
    )
    w.case(
        "resnet-shapleycam-two-layers",
        "two layers, where upstream fails",
        "ShapleyCAM",
        "resnet",
        layers=TWO,
        targets=rest,
        heatmaps=reference.shapley(model, TWO, x, aims),
        source=BY_HAND,
    )

    finer = {
        "default": ({}, {}, "the three nearest classes, alpha 1"),
        "chosen": (
            {"alpha": 0.6, "comparisonCategories": [1, 3]},
            {"alpha": 0.6, "comparison_categories": [1, 3]},
            "ranks 1 and 3, alpha 0.6",
        ),
        "class": ({"targetClass": 2}, {"target_idx": 2}, "the classes nearest to class 2"),
    }
    for name, (options, call, description) in finer.items():
        w.case(
            f"resnet-finercam-{name}",
            description,
            "FinerCAM",
            "resnet",
            layers=LAST,
            targets=None,
            options=options,
            heatmaps=library.run("FinerCAM", model, LAST, x, None, **call),
            source=LIBRARY,
        )
    w.case(
        "resnet-finercam-layercam",
        "LayerCAM as the base method",
        "FinerCAM",
        "resnet",
        layers=LAST,
        targets=None,
        options={"baseMethod": "LayerCAM"},
        source=LIBRARY,
        heatmaps=library.run(
            "FinerCAM", model, LAST, x, None, constructor={"base_method": library.method_class("LayerCAM")}
        ),
    )
    for base in ("GradCAMPlusPlus", "LayerCAM"):
        maps = library.run("RefineCAM", model, TWO, x, targets, constructor={"base_method": library.method_class(base)})
        product = np.prod([library.run(base, model, [path], x, targets) for path in TWO], axis=0)
        w.case(
            f"resnet-refinecam-{base.lower()}",
            f"the product of two layers' {base}, scaled",
            "RefineCAM",
            "resnet",
            layers=TWO,
            targets=TARGETS,
            options={"baseMethod": base},
            heatmaps=maps,
            check=reference.unit(torch.from_numpy(product)),
            source=LIBRARY,
        )
    each = [library.run("LayerCAM", model, [path], x, targets, eigen_smooth=True) for path in TWO]
    w.case(
        "resnet-refinecam-eigen-smooth",
        "eigen_smooth of each layer; upstream runs aug_smooth instead",
        "RefineCAM",
        "resnet",
        layers=TWO,
        targets=TARGETS,
        options={"baseMethod": "LayerCAM", "eigenSmooth": True},
        heatmaps=reference.unit(torch.from_numpy(np.prod(each, axis=0))),
        source=LIBRARY + ", its arguments mended",
    )


def write(w) -> None:
    w.group = "methods"
    w.add_model("resnet", models.seeded(models.Residual, 3), noise((2, 3, 24, 32), 103))
    w.add_model("gray", models.seeded(lambda: models.Residual(1), 7), noise((2, 1, 20, 17), 102))
    basic(w)
    perturbing(w)
    wrapping(w)
