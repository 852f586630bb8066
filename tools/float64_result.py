"""The float64 result that the fixtures hold, and how far the reference's own float32 result is from it.

Expected values are those of the reference with the model and the input in double precision, rounded to float32 when they
are stored. `referenceError` is the largest absolute difference of the same run in float32: the tests allow ours four
times that, plus 1e-5.

What stays the same in both runs, so that they answer one question: weights and inputs (float32 numbers), the target's
class, vector, mask or boxes, and whatever is drawn at random. What double precision could decide differently: the best
class where none is given, the channels that AblationCAM tries, where FEM's activations lie above their threshold, which
boxes a detector finds, the rounds of an iteration. Such a choice is no matter of rounding: results that count, name or
choose must be equal in both runs, and a map that jumps from one choice to another would show as a large error.
"""

import copy

import numpy as np
import torch
from torch import nn

# Beyond this, rounding of float32 does not explain the difference: the two runs chose differently, so the case tests nothing.
LARGEST_ERROR = 1e-3


def doubled(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).double()


def error_between(double, single, path: str = "result") -> float:
    """The largest absolute difference of any number in arrays, lists and dicts; what is not a float must be equal."""
    if isinstance(double, dict):
        assert double.keys() == single.keys(), path
        return max((error_between(double[key], single[key], f"{path}.{key}") for key in double), default=0.0)
    if isinstance(double, torch.Tensor):
        return error_between(double.detach().numpy(), single.detach().numpy(), path)
    if isinstance(double, (list, tuple)) and not all(isinstance(value, float) for value in double):
        assert len(double) == len(single), path
        pairs = zip(double, single, strict=True)
        return max((error_between(*pair, f"{path}[{i}]") for i, pair in enumerate(pairs)), default=0.0)
    double, single = np.asarray(double), np.asarray(single)
    assert double.shape == single.shape, (path, double.shape, single.shape)
    if double.dtype.kind != "f":
        assert (double == single).all(), (path, "double precision decides otherwise", double, single)
        return 0.0
    return float(np.abs(double.astype(np.float64) - single).max(initial=0.0))


def errors_of(double: dict, single: dict, name: str, limit: float = LARGEST_ERROR) -> dict:
    """`referenceError` of a case: of each expected value, in three digits."""
    errors = {key: error_between(double[key], single[key], f"{name}.{key}") for key in double}
    for key, error in errors.items():
        assert error <= limit * max(1.0, largest(double[key])), (name, key, error)
    return {key: float(f"{error:.2e}") for key, error in errors.items()}


def largest(value) -> float:
    if isinstance(value, dict):
        return max(map(largest, value.values()), default=0.0)
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, (list, tuple)):
        return max(map(largest, value), default=0.0)
    return float(np.abs(np.asarray(value, np.float64)).max(initial=0.0))


def allowed_error(reference_error: float, scale: float = 1.0) -> float:
    """What the tests allow ours: `scale` is 1 for maps, else the largest expected value if that is above 1."""
    return 4 * reference_error + 1e-5 * scale


def in_float32(run, model: nn.Module, x: torch.Tensor) -> list:
    """run(model, x) with the images stored as they are, and channels last.

    Among the millions of ReLUs of a full-size model some have an input within rounding of zero, and each way of adding
    takes its own side: the reference's float32 error is the larger of the two.
    """
    last = {"memory_format": torch.channels_last}
    return [run(model, x), run(copy.deepcopy(model).to(**last), x.contiguous(**last))]


def within_bounds(name: str, ours: np.ndarray, double: np.ndarray, singles: list) -> bool:
    """Prints how far our maps and the reference's in float32 are from those in double precision. NaN fails."""
    error, *references = (float(np.abs(maps.reshape(double.shape) - double).max()) for maps in (ours, *singles))
    reference = max(references)
    within = error <= allowed_error(reference)
    verdict = "" if within else f"  FAILS: {allowed_error(reference):.1e} is allowed"
    spread = double.reshape(len(double), -1).std(1).min()
    print(f"  {name:14s} ours {error:.1e}, the reference's own {reference:.1e}  (std {spread:.3f}){verdict}", flush=True)
    return within
