"""Cases: aug_smooth and eigen_smooth."""

import numpy as np

import family_library as library
import family_reference as reference
from family_methods import LAST, LIBRARY, TARGETS, TWO


def write(w) -> None:
    w.group = "smoothing"
    _, model, x = w.models["resnet"]
    targets = library.new_targets(TARGETS)
    for method in ("GradCAM", "HiResCAM", "LayerCAM", "GradCAMElementWise", "GradCAMPlusPlus"):
        maps = library.run(method, model, LAST, x, targets, eigen_smooth=True)
        w.case(
            f"smooth-eigen-{method.lower()}",
            "eigen_smooth",
            method,
            "resnet",
            layers=LAST,
            targets=TARGETS,
            options={"eigenSmooth": True},
            heatmaps=maps,
            source=LIBRARY,
            check=reference.explain(method, model, LAST, x, targets, eigen_smooth=True),
        )
    for method in ("GradCAM", "HiResCAM", "EigenCAM", "ScoreCAM"):
        parts = []
        for flipped in (False, True):
            for factor in (0.9, 1, 1.1):
                image = (x.flip(3) if flipped else x) * factor
                found = library.run(method, model, LAST, image, targets)
                parts.append(found[..., ::-1] if flipped else found)
        w.case(
            f"smooth-aug-{method.lower()}",
            "aug_smooth",
            method,
            "resnet",
            layers=LAST,
            targets=TARGETS,
            options={"augSmooth": True},
            heatmaps=library.run(method, model, LAST, x, targets, aug_smooth=True),
            check=np.mean(parts, axis=0),
            source=LIBRARY,
            notRescaled=True,
        )
    maps = library.run("GradCAM", model, TWO, x, None, aug_smooth=True)
    w.case(
        "smooth-aug-argmax",
        "aug_smooth of two layers, targets omitted: each copy's own best class",
        "GradCAM",
        "resnet",
        layers=TWO,
        targets=None,
        options={"augSmooth": True},
        heatmaps=maps,
        source=LIBRARY,
        notRescaled=True,
    )
    for method in ("GradCAM", "HiResCAM"):
        maps = library.run(method, model, LAST, x, targets, aug_smooth=True, eigen_smooth=True)
        w.case(
            f"smooth-both-{method.lower()}",
            "aug_smooth and eigen_smooth",
            method,
            "resnet",
            layers=LAST,
            targets=TARGETS,
            options={"augSmooth": True, "eigenSmooth": True},
            heatmaps=maps,
            source=LIBRARY,
            notRescaled=True,
        )
