"""Cases: metrics of given heatmaps. The field `cams` holds them; `values` has one number per image."""

import cv2
import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.metrics import road
from pytorch_grad_cam.metrics.arcc import ARCC, Coherency, Complexity
from pytorch_grad_cam.metrics.cam_mult_image import (
    CamMultImageConfidenceChange,
    DropInConfidence,
    IncreaseInConfidence,
)
from pytorch_grad_cam.metrics.perturbation_confidence import (
    AveragerAcrossThresholds,
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)

import family_library as library
import family_models as models
import family_reference as reference
from family_methods import BY_HAND, LAST, LIBRARY, noise

PERCENTILES = [10, 20, 30, 40, 50, 60, 70, 80, 90]


def quiet():
    return road.NoisyLinearImputer(noise=0.0)


def most(percentile):
    return PerturbationConfidenceMetric(RemoveMostRelevantFirst(percentile, quiet()))


def least(percentile):
    return PerturbationConfidenceMetric(RemoveLeastRelevantFirst(percentile, quiet()))


class QuietCombined(road.ROADCombined):
    def __init__(self, percentiles=None):
        self.morf_averager = AveragerAcrossThresholds(most, percentiles or PERCENTILES)
        self.lerf_averager = AveragerAcrossThresholds(least, percentiles or PERCENTILES)


def smooth_maps() -> np.ndarray:
    """Two smooth maps in 0..1 whose values all differ, so that percentiles and rankings are well defined."""
    coarse = noise((2, 1, 4, 5), 301).double()
    maps = torch.nn.functional.interpolate(coarse, size=(24, 32), mode="bicubic", align_corners=True)[:, 0]
    maps = reference.unit(maps + 0.01 * noise((2, 24, 32), 302)).float().numpy()
    assert all(len(np.unique(m)) == m.size for m in maps)
    return maps


def solved_by_hand(image: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The noiseless imputer as a dense system in float64: each missing pixel is the weighted mean of its neighbours."""
    channels, height, width = image.shape
    missing = np.argwhere(~keep)
    number = {tuple(p): i for i, p in enumerate(missing)}
    matrix, right = np.zeros((len(missing), len(missing))), np.zeros((len(missing), channels))
    for i, (row, column) in enumerate(missing):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                y, x = row + dy, column + dx
                if (dy, dx) == (0, 0) or not (0 <= y < height and 0 <= x < width):
                    continue
                weight = 1 / 6 if dy == 0 or dx == 0 else 1 / 12
                matrix[i, i] += weight
                if keep[y, x]:
                    right[i] += weight * image[:, y, x]
                else:
                    matrix[i, number[y, x]] -= weight
    result = image.astype(np.float64).copy()
    result[:, ~keep] = np.linalg.solve(matrix, right).T
    return result.astype(image.dtype)


def images(maps: np.ndarray) -> torch.Tensor:
    """Noise, and a colour of its own where the map is high, so that what is removed matters."""
    colours = torch.tensor([[6.0, -4.5, 3.0], [-5.0, 3.0, 7.0]])
    shown = torch.from_numpy(maps)[:, None] ** 2 * colours[:, :, None, None]
    return (shown + 0.3 * noise((2, 3, 24, 32), 305)).contiguous()


def softmax_targets(classes):
    return [[{"kind": "ClassifierOutputSoftmaxTarget", "category": c}] for c in classes]


def confidence(w, cams) -> None:
    _, model, x = w.models["metrics"]
    cases = {
        "confidence-change": ("CamMultImageConfidenceChange", CamMultImageConfidenceChange(), (0, 2)),
        "confidence-drop": ("DropInConfidence", DropInConfidence(), (3, 1)),
        "confidence-increase": ("IncreaseInConfidence", IncreaseInConfidence(), (3, 1)),
    }
    for name, (method, metric, classes) in cases.items():
        targets = softmax_targets(classes)
        values = metric(x, cams, library.new_targets(targets), model)
        print("  ", name, values)
        w.case(
            f"metric-{name}",
            "the image times its heatmap, after minus before, of the probability; drop is max(0, -) and "
            "increase 1 or 0",
            method,
            "metrics",
            targets=targets,
            cams=w.cams,
            source=LIBRARY,
            expected={"values": [float(v) for v in values]},
        )
    for kind in ("SoftmaxOutputTarget", "RawScoresOutputTarget"):
        targets = [[{"kind": kind}]] * 2
        values = CamMultImageConfidenceChange()(x, cams, library.new_targets(targets), model)
        w.case(
            f"metric-confidence-change-{kind.lower()}",
            "one difference for each class",
            "CamMultImageConfidenceChange",
            "metrics",
            targets=targets,
            cams=w.cams,
            source=LIBRARY,
            expected={"differences": values},
        )


def removal(w, cams) -> None:
    _, model, x = w.models["metrics"]
    targets = softmax_targets((3, 0))
    aims = library.new_targets(targets)

    def case(name, method, description, metric, options, source=LIBRARY, check=None, extra=None):
        values, images = metric(x, cams, aims, model, return_visualization=True)
        after = metric(x, cams, aims, model, return_diff=False)
        if check is not None:
            assert np.abs(images.numpy() - check).max() < 1e-4, name
        w.case(
            f"metric-{name}",
            description,
            method,
            "metrics",
            targets=targets,
            cams=w.cams,
            options={**options, "noise": 0},
            source=source,
            expected={
                "values": [float(v) for v in values],
                "after": [float(v) for v in after],
                "images": images,
                **(extra or {}),
            },
        )
        print("  ", name, values)

    for percentile in (80, 35):
        keep = np.stack([cam < np.percentile(cam, percentile) for cam in cams])
        case(
            f"road-most-{percentile}",
            "ROADMostRelevantFirst",
            "pixels at or above the percentile imputed, no noise",
            most(percentile),
            {"percentile": percentile},
            check=np.stack([solved_by_hand(i, k) for i, k in zip(x.numpy(), keep)]),
        )
    keep = np.stack([(1 - cam) < np.percentile(1 - cam, 20) for cam in cams])
    case(
        "road-least-20",
        "ROADLeastRelevantFirst",
        "of 1 - heatmap: pixels at or above its percentile imputed, no noise",
        least(20),
        {"percentile": 20},
        check=np.stack([solved_by_hand(i, k) for i, k in zip(x.numpy(), keep)]),
    )

    thresholds = [cv2.threshold(np.uint8(cam * 255), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0] for cam in cams]
    keep = [np.uint8(cam * 255) <= threshold for cam, threshold in zip(cams, thresholds)]
    filled = [torch.from_numpy(solved_by_hand(image, k)) for image, k in zip(x.numpy(), keep)]
    following = iter(filled * 2)
    metric = PerturbationConfidenceMetric(lambda _image, _mask: next(following))
    upstream = most("auto")(x, cams, aims, model)
    case(
        "road-most-auto",
        "ROADMostRelevantFirst",
        "Otsu's threshold of uint8(255 heatmap), pixels above it imputed; "
        "upstream keeps those and imputes the rest: `upstream`",
        metric,
        {"percentile": "auto"},
        source=BY_HAND,
        extra={"thresholds": [int(t) for t in thresholds], "upstream": [float(v) for v in upstream]},
    )

    drawn = [noise((3, int((cam >= np.percentile(cam, 80)).sum())), 303 + i) for i, cam in enumerate(cams)]
    following = iter(drawn)
    original, road.torch.randn_like = torch.randn_like, lambda _like: next(following)
    values, images = PerturbationConfidenceMetric(RemoveMostRelevantFirst(80, road.NoisyLinearImputer()))(
        x, cams, aims, model, return_visualization=True
    )
    road.torch.randn_like = original
    w.case(
        "metric-road-most-80-noise",
        "noise 0.01 times the given normal numbers [channels, removed pixels in row-major order]",
        "ROADMostRelevantFirst",
        "metrics",
        targets=targets,
        cams=w.cams,
        options={"percentile": 80, "noise": 0.01, "drawn": drawn},
        source=LIBRARY,
        expected={"values": [float(v) for v in values], "images": images},
    )

    for name, metric in {
        "most-average": AveragerAcrossThresholds(most, PERCENTILES),
        "least-average": AveragerAcrossThresholds(least, PERCENTILES),
        "combined": QuietCombined(),
    }.items():
        method = {
            "most-average": "ROADMostRelevantFirstAverage",
            "least-average": "ROADLeastRelevantFirstAverage",
            "combined": "ROADCombined",
        }[name]
        values = metric(x, cams, aims, model)
        print("  ", name, values)
        w.case(
            f"metric-road-{name}",
            "percentiles 10, 20, ... 90, no noise" + ("; (least - most) / 2" if name == "combined" else ""),
            method,
            "metrics",
            targets=targets,
            cams=w.cams,
            source=LIBRARY,
            options={"percentiles": PERCENTILES, "noise": 0},
            expected={"values": [float(v) for v in values]},
        )


def arcc(w, cams) -> None:
    _, model, x = w.models["metrics"]
    targets = softmax_targets((3, 0))
    aims = library.new_targets(targets)
    with GradCAM(model, [model.get_submodule(path) for path in LAST]) as cam:
        metric = ARCC(cam)
        metric.road = QuietCombined([20, 40, 60, 80])
        values = metric(x, cams, aims, model)
        parts = {
            "complexity": Complexity()(cams).tolist(),
            "coherency": Coherency()(x, cams, aims, model, cam).tolist(),
            "road": QuietCombined([20, 40, 60, 80])(x, cams, aims, model).tolist(),
        }
    print("   arcc", values, parts)
    assert (values > 0.02).all()
    w.case(
        "metric-arcc",
        "the harmonic mean of coherency (Pearson, of GradCAM's own map of image x heatmap), 1 - complexity "
        "and clip(2 ROADCombined, 0, 1), no noise",
        "ARCC",
        "metrics",
        layers=LAST,
        targets=targets,
        cams=w.cams,
        options={"baseMethod": "GradCAM", "percentiles": [20, 40, 60, 80], "noise": 0},
        source=LIBRARY,
        expected={"values": [float(v) for v in values], **parts},
    )


def curves(w, cams) -> None:
    """As RISE: pixels, most relevant first, `pixelsPerStep` at a time, are deleted to or inserted over a baseline."""
    _, model, x = w.models["metrics"]
    targets = softmax_targets((3, 0))
    aims, step = library.new_targets(targets), 50
    for method in ("DeletionAUC", "InsertionAUC"):
        all_scores, values = [], []
        for image, cam, aim in zip(x, cams, aims):
            order = np.argsort(-cam.reshape(-1), kind="stable")
            steps = []
            for removed in [*range(0, len(order), step), len(order)]:
                chosen = np.zeros(len(order), bool)
                chosen[order[:removed]] = True
                keep = torch.from_numpy(chosen if method == "InsertionAUC" else ~chosen).reshape(cam.shape)
                steps.append(image * keep)
            with torch.no_grad():
                scores = np.array([float(aim(row)) for row in model(torch.stack(steps))])
            fractions = np.array([*range(0, len(order), step), len(order)]) / len(order)
            values.append(float(np.sum((scores[1:] + scores[:-1]) / 2 * np.diff(fractions))))
            all_scores.append(scores)
        w.case(
            f"metric-{method.lower()}",
            "baseline 0; trapezoids over the fraction of pixels, the last step shorter",
            method,
            "metrics",
            targets=targets,
            cams=w.cams,
            options={"pixelsPerStep": step, "baseline": 0},
            source=BY_HAND,
            expected={"values": values, "curves": np.stack(all_scores)},
        )


def pointing(w, cams) -> None:
    """A hit: the distance of the maximum to the nearest pixel of the mask is at most the tolerance."""
    peaks = [np.unravel_index(cam.argmax(), cam.shape) for cam in cams]
    (y0, x0), (y1, x1) = peaks
    boxes = [
        [[int(x0), int(y0), int(x0) + 3, int(y0) + 3]],
        [[0, 0, 2, 2], [int(x1) - 6, int(y1) - 6, int(x1) - 2, int(y1) - 3]],
    ]
    cases = {0: [True, False], 3: [True, False], 5: [True, True]}
    for tolerance, hits in cases.items():
        found = []
        for (y, x), of_image in zip(peaks, boxes):
            distances = [
                np.hypot(max(left - x, 0, x - right + 1), max(top - y, 0, y - bottom + 1))
                for left, top, right, bottom in of_image
            ]
            found.append(bool(min(distances) <= tolerance))
        assert found == hits, (tolerance, found)
        w.case(
            f"metric-pointing-game-{tolerance}",
            f"boxes [x1, y1, x2, y2), tolerance {tolerance} pixels",
            "PointingGame",
            "metrics",
            cams=w.cams,
            options={"boxes": boxes, "tolerance": tolerance},
            source=BY_HAND,
            expected={"hits": hits, "peaks": [[int(y), int(x)] for y, x in peaks]},
        )


def write(w) -> None:
    w.group = "metrics"
    cams = smooth_maps()
    w.add_model("metrics", models.seeded(models.Residual, 49, linear=8.0), images(cams))
    w.cams = w.array("metric.cams", cams)
    with library.precision(w.dtype):
        for part in (confidence, removal, arcc, curves, pointing):
            part(w, cams)
