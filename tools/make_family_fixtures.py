"""Writes test/fixtures/family: tiny TorchScript models and golden values of every method, target, shape and metric.

The index is golden.json; arrays are little-endian float32 beside it. A case has
    name, group, description, method, model, input (or inputs), targetLayers, options, expected, source,
    targets: for each image a list of one class index or of one {kind, ...}; null: each image's best class
    referenceError: of each expected value how far the reference's own result in the model's type is from it
and `expected` has heatmaps [B, ...space], or what the method gives instead: the result in double precision of the same
weights and input (float64_result.py). `source` says whose value it is:
    pytorch-grad-cam    the real library's; ", ... mended" where one step of it was replaced
    torch-cam, captum   of the methods that pytorch-grad-cam does not have
    by hand             family_reference.py, where the library cannot run or is wrong
The same formulas by hand are compared, to 1e-9, with every library value that they cover. A map that would test nothing
(constant, zero, the same for both images) is refused, as is a model whose file computes something else.

    family_models.py      the models                     family_peers.py         input gradients, torch-cam, Captum
    family_library.py     the library and its mendings   family_targets.py       targets
    family_reference.py   the formulas by hand           family_transformers.py  tokens, LeGrad
    family_writer.py      files and index                family_shapes.py        1-D, 3-D, two inputs, half precision
    family_methods.py     methods                        family_metrics.py       metrics
    family_smoothing.py   aug_smooth, eigen_smooth

Mended in every case: the sign of an SVD (of the map's two extremes, the one of larger magnitude is positive: the rule
of SegEigenCAM, and of scikit-learn's kernel PCA), and the resize of volumes (trilinear instead of a cubic spline).
"""

import argparse

import torch

import family_methods
import family_metrics
import family_peers
import family_shapes
import family_smoothing
import family_targets
import family_transformers
from family_writer import Writer

PARTS = (
    family_methods,
    family_smoothing,
    family_peers,
    family_targets,
    family_transformers,
    family_shapes,
    family_metrics,
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    single = Writer()
    double = single.in_double()
    for part in PARTS:
        part.write(single)
        part.write(double)
    double.finish()


if __name__ == "__main__":
    main()
