"""Compares node-gradcam with pytorch-grad-cam on torchvision's full-size segmentation models: the same weights (random,
with a fixed seed), picture, layer, category and mask, which is the model's own prediction.

Needs the built library (`npm run build`) and `node` on the path. Exits with 1 if a map is further from pytorch-grad-cam's in
double precision than four times its own in float32, plus 1e-5.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet50, fcn_resnet50

from tools.fixtures.family import library
from tools.fixtures.shared.float64_result import doubled, in_float32, within_bounds
from tools.fixtures.shared.torchscript_file import save_torchscript

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
LAYER = "backbone.layer4"
MODELS = {"deeplabv3_resnet50": deeplabv3_resnet50, "fcn_resnet50": fcn_resnet50}

# Run in the repository's root, where the package finds itself by name.
NODE_SCRIPT = """
import { readFileSync, writeFileSync } from 'node:fs';
import {
  categoryMask, GradCAM, loadModel, presentCategories, SemanticSegmentationTarget, Tensor,
} from 'node-gradcam';

const [modelPath, inputPath, heatmapsPath, maskPath, layer, shape] = process.argv.slice(1);
const bytes = readFileSync(inputPath);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const input = Tensor.from(values, JSON.parse(shape));
const model = await loadModel(modelPath);
const { out } = await model.forward(input);
const [{ category }] = presentCategories(out);
const mask = categoryMask(out, category);
const cam = new GradCAM({ model, targetLayers: [layer], output: 'out' });
const result = await cam.explain(input, { targets: new SemanticSegmentationTarget(category, mask) });
writeFileSync(heatmapsPath, result.heatmaps.toTypedArray());
writeFileSync(maskPath, mask.toTypedArray());
console.log(category);
await model.dispose();
"""


def make_model(make) -> nn.Module:
    torch.manual_seed(0)
    model = make(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    # Untrained, one category would win everywhere by its bias alone, and all gradients would be tiny.
    nn.init.normal_(model.classifier[-1].weight, std=0.5)
    return model


def make_input(size: int) -> torch.Tensor:
    picture = Image.open(PHOTO).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)[None]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((pixels - mean[None, :, None, None]) / std[None, :, None, None]).contiguous()


def run_node(model_path: Path, x: torch.Tensor, folder: Path) -> tuple[np.ndarray, np.ndarray, int]:
    paths = [folder / name for name in ("input.bin", "heatmaps.bin", "mask.bin")]
    x.numpy().astype("<f4").tofile(paths[0])
    arguments = [str(model_path), *map(str, paths), LAYER, str(list(x.shape))]
    command = ["node", "--input-type=module", "--eval", NODE_SCRIPT, "--", *arguments]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    heatmaps, mask = (np.fromfile(path, "<f4").reshape(x.shape[2:]) for path in paths[1:])
    return heatmaps, mask, int(printed)


def compare(name: str, x: torch.Tensor) -> bool:
    model = make_model(MODELS[name])
    with tempfile.TemporaryDirectory() as folder:
        model_path = Path(folder) / f"{name}.pt"
        save_torchscript(torch.jit.script(model), model_path)
        heatmap, mask, category = run_node(model_path, x, Path(folder))
    with torch.no_grad():
        predicted = model(x)["out"][0].argmax(0).numpy()
    expected_mask = np.float32(predicted == category)
    targets = [SemanticSegmentationTarget(category, expected_mask)]

    def run(module, image):
        return library.run("GradCAM", library.Select(module, "out"), [f"model.{LAYER}"], image, targets)

    exact, theirs = run(doubled(model), x.double()), in_float32(run, model, x)
    print(f"{name}, {list(x.shape)}: category {category} on {expected_mask.mean():.0%} of the picture, of")
    print(f"  {len(np.unique(predicted))} categories; pixels of the mask that differ: {int((mask != expected_mask).sum())}")
    assert exact.std() > 0.05, "the map says nothing"
    return within_bounds("GradCAM", heatmap, exact, theirs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads for PyTorch (default: 2)")
    parser.add_argument("--size", type=int, default=320, help="the picture's width and height (default: 320)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    x = make_input(arguments.size)
    return 0 if all([compare(name, x) for name in MODELS]) else 1


if __name__ == "__main__":
    sys.exit(main())
