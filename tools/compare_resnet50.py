"""Compares node-gradcam with pytorch-grad-cam on torchvision's ResNet-50: the same weights, input, layer and classes.

Needs the built library (`npm run build`) and `node` on the path. Exits with 1 if the heatmaps differ by more than 1e-4.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import resnet50

from torchscript_file import save_torchscript

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4
LAYER = "layer4"
CLASSES = [281, 7]
SHAPE = [2, 3, 224, 224]

# Run in the repository's root, where the package finds itself by name.
NODE_SCRIPT = """
import { readFileSync, writeFileSync } from 'node:fs';
import { ClassifierOutputTarget, GradCAM, loadModel, Tensor } from 'node-gradcam';

const [modelPath, inputPath, heatmapsPath, outputsPath, layer, shape, classes] = process.argv.slice(1);
const bytes = readFileSync(inputPath);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const model = await loadModel(modelPath);
const cam = new GradCAM({ model, targetLayers: [layer] });
const targets = JSON.parse(classes).map((index) => new ClassifierOutputTarget(index));
const result = await cam.explain(Tensor.from(values, JSON.parse(shape)), { targets });
writeFileSync(heatmapsPath, result.heatmaps.toTypedArray());
writeFileSync(outputsPath, result.outputs.toTypedArray());
await model.dispose();
"""


def make_model() -> nn.Module:
    """ResNet-50 with fixed random weights; a wider last layer keeps the gradients far from pytorch-grad-cam's 1e-7."""
    torch.manual_seed(0)
    model = resnet50(weights=None).eval()
    nn.init.normal_(model.fc.weight, std=0.5)
    return model


def run_upstream(model: nn.Module, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    with GradCAM(model=model, target_layers=[model.get_submodule(LAYER)]) as cam:
        heatmaps = cam(input_tensor=x, targets=[ClassifierOutputTarget(index) for index in CLASSES])
        return heatmaps, cam.outputs.detach().numpy()


def run_node(model_path: Path, x: torch.Tensor, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    paths = [folder / name for name in ("input.bin", "heatmaps.bin", "outputs.bin")]
    x.numpy().astype("<f4").tofile(paths[0])
    arguments = [str(model_path), *map(str, paths), LAYER, str(SHAPE), str(CLASSES)]
    command = ["node", "--input-type=module", "--eval", NODE_SCRIPT, "--", *arguments]
    subprocess.run(command, cwd=ROOT, check=True)
    heatmaps, outputs = (np.fromfile(path, "<f4") for path in paths[1:])
    return heatmaps.reshape(SHAPE[0], *SHAPE[2:]), outputs.reshape(SHAPE[0], -1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads for PyTorch (default: 2)")
    torch.set_num_threads(parser.parse_args().threads)

    model = make_model()
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder:
        model_path = Path(folder) / "resnet50.pt"
        save_torchscript(torch.jit.script(model), model_path)
        heatmaps, outputs = run_node(model_path, x, Path(folder))
    expected_heatmaps, expected_outputs = run_upstream(model, x)

    spread = expected_heatmaps.reshape(SHAPE[0], -1).std(1)
    print(f"pytorch-grad-cam: mean {expected_heatmaps.mean():.3f}, std per map {np.round(spread, 3).tolist()}")
    assert (spread > 0.05).all(), "the maps say nothing"
    scale = np.abs(expected_outputs).max()
    print(f"largest difference of the outputs:  {np.abs(outputs - expected_outputs).max():.1e} (outputs up to {scale:.1f})")
    difference = np.abs(heatmaps - expected_heatmaps).max()
    print(f"largest difference of the heatmaps: {difference:.1e} (allowed {TOLERANCE:.0e})")
    return 0 if difference <= TOLERANCE else 1  # NaN fails


if __name__ == "__main__":
    sys.exit(main())
