"""pytorch-grad-cam as the family's fixtures run it: with the mendings that the parity policy names, in single or double
precision, and with targets from what golden.json says of them."""

import contextlib
import sys
import types
import warnings

import numpy as np
import pytorch_grad_cam as library
import torch
from pytorch_grad_cam import (
    ablation_cam,
    base_cam,
    eigen_cam,
    eigen_grad_cam,
    fullgrad_cam,
    grad_cam_elementwise,
    hirescam,
    layer_cam,
    score_cam,
)
from pytorch_grad_cam.utils import image as library_image
from pytorch_grad_cam.utils import model_targets, svd_on_activations

import family_reference as reference

warnings.filterwarnings("ignore")
ablation_cam.tqdm = score_cam.tqdm = types.SimpleNamespace(tqdm=lambda items: items)

CLASSES = {"KPCACAM": library.KPCA_CAM}
PROJECTING = (base_cam, eigen_cam, eigen_grad_cam, fullgrad_cam, grad_cam_elementwise, hirescam, layer_cam)
upstream_projection = svd_on_activations.get_2d_projection
mended_projection = svd_on_activations.get_2d_projection_with_sign_correction


def trilinear(volume: np.ndarray, factors) -> np.ndarray:
    size = [round(length * factor) for length, factor in zip(volume.shape, factors)]
    return reference.resize(torch.from_numpy(volume)[None, None], size)[0, 0].numpy()


@contextlib.contextmanager
def mended():
    """The library with a sign rule for its SVD (SegEigenCAM's own) and trilinear resizing of volumes."""
    zoom = library_image.zoom
    library_image.zoom = trilinear
    for module in PROJECTING:
        module.get_2d_projection = mended_projection
    try:
        yield
    finally:
        library_image.zoom = zoom
        for module in PROJECTING:
            module.get_2d_projection = upstream_projection


class InDouble:
    """numpy or torch, whose type of single precision is double."""

    def __init__(self, module, **types):
        self.module = module
        vars(self).update(types)

    def __getattr__(self, name):
        return getattr(self.module, name)


DOUBLE = {"np": InDouble(np, float32=np.float64), "torch": InDouble(torch, float=torch.float64)}
SINGLE = {"np": np, "torch": torch}


@contextlib.contextmanager
def precision(dtype: torch.dtype):
    """The library's own arithmetic in this type; left alone, it rounds to float32 between its steps, whatever the model."""
    if dtype != torch.float64:
        yield
        return
    modules = [module for name, module in sys.modules.items() if name.startswith("pytorch_grad_cam")]
    names = [(module, name) for module in modules for name in SINGLE if vars(module).get(name) is SINGLE[name]]
    for module, name in names:
        setattr(module, name, DOUBLE[name])
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        for module, name in names:
            setattr(module, name, SINGLE[name])


def method_class(name: str):
    return CLASSES.get(name) or getattr(library, name)


def run(
    method,
    model,
    layers,
    x,
    targets,
    transform=None,
    constructor=None,
    batch_size=None,
    **call,
) -> np.ndarray:
    """The real library's maps, computed in the type of `x`, which is the model's."""
    modules = [model.get_submodule(path) for path in layers]
    if method == "KPCACAM":
        # Of more than 200 positions, scikit-learn starts at a random vector.
        np.random.seed(0)
    with mended(), precision(x.dtype):
        cam = method_class(method)(model, modules, reshape_transform=transform, **(constructor or {}))
        if batch_size is not None:
            cam.batch_size = batch_size
        maps = cam(x, targets, **call)
        for inner in getattr(cam, "base_cam_per_layer", [getattr(cam, "base_cam", cam)]):
            # Not its own release(), which fails on ShapleyCAM's graph.
            kept = inner.activations_and_grads
            for handle in kept.handles:
                handle.remove()
            kept.handles, kept.activations, kept.gradients = [], [], []
    return np.asarray(maps, np.float64 if x.dtype == torch.float64 else np.float32)


class VectorTarget:
    def __init__(self, vector):
        self.vector = vector

    def __call__(self, output):
        return (output * self.vector.to(output.dtype)).sum()


class CosineSimilarityTarget(VectorTarget):
    """The library's tutorial: torch.nn.CosineSimilarity(dim=0), eps 1e-8."""

    def __call__(self, output):
        return torch.nn.functional.cosine_similarity(output, self.vector.to(output.dtype), dim=0)


class DifferenceFromConceptTarget(CosineSimilarityTarget):
    """The library's tutorial: 1 - cosine similarity."""

    def __call__(self, output):
        return 1 - super().__call__(output)


class ScriptedTarget:
    def __init__(self, module):
        self.module = module

    def __call__(self, output):
        return self.module(output)


def log_odds(output):
    return output.exp().mean().log() - output.log_softmax(-1)[2]


def bounded_distance(output):
    wanted = torch.tensor([1.0, -0.5, 0.25, 2.0, -1.0], dtype=output.dtype)
    return (output.exp().sum() + 1) / (output * 2 - wanted).clamp(-1.5, 2).norm(3)


def projection(output):
    matrix = torch.tensor([[1.0, 0.5], [-1, 2], [0.25, -0.75], [3, 1], [-2, 0.1]], dtype=output.dtype)
    return (output.reshape(1, 5).softmax(1) @ matrix).max(dim=1).values.mean()


# Targets as functions; test/family.test.ts has them in TypeScript.
FUNCTIONS = {"log-odds": log_odds, "bounded-distance": bounded_distance, "projection": projection}


def new_target(spec):
    """From a class index or {kind, ...} (arrays as numpy) to a callable."""
    if not isinstance(spec, dict):
        return model_targets.ClassifierOutputTarget(spec)
    kind = spec["kind"]
    if kind in ("VectorTarget", "CosineSimilarityTarget", "DifferenceFromConceptTarget"):
        return globals()[kind](torch.from_numpy(spec["vector"]))
    if kind == "function":
        return FUNCTIONS[spec["name"]]
    if kind == "TorchScriptTarget":
        return ScriptedTarget(spec["module"])
    if kind == "SemanticSegmentationTarget":
        return model_targets.SemanticSegmentationTarget(spec["category"], spec["mask"])
    if kind == "FasterRCNNBoxScoreTarget":
        return model_targets.FasterRCNNBoxScoreTarget(spec["labels"], spec["boundingBoxes"], spec["iouThreshold"])
    if kind == "FinerWeightedTarget":
        return model_targets.FinerWeightedTarget(spec["mainCategory"], spec["comparisonCategories"], spec["alpha"])
    arguments = [spec["category"]] if "category" in spec else []
    return getattr(model_targets, kind)(*arguments)


def new_targets(specs):
    """One target per image, from one list of one target per image."""
    return [new_target(of_image[0]) for of_image in specs]


class Select(torch.nn.Module):
    def __init__(self, model, key):
        super().__init__()
        self.model = model
        self.key = key

    def forward(self, x):
        return self.model(x)[self.key]


def tokens(prefix: int, grid):
    """[B, prefix + H * W, C] -> [B, C, H, W]"""
    return lambda x: x[:, prefix:].reshape(x.size(0), *grid, x.size(2)).permute(0, 3, 1, 2)


def channels_last(x):
    return x.permute(0, 3, 1, 2)
