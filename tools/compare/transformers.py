"""Compares node-gradcam with pytorch-grad-cam on full-size transformers and ConvNeXts, exported by export_model.py:
the same weights, input, layer and classes, four methods. The layer and its transform are those of the sidecar.

Needs the built library (`npm run build`) and `node` on the path. Exits with 1 if a map is further from pytorch-grad-cam's in
double precision than four times its own in float32, plus 1e-5.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import export_model as exporter
from tools.fixtures.family import library
from tools.fixtures.shared.float64_result import doubled, in_float32, within_bounds

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("GradCAM", "HiResCAM", "LayerCAM", "EigenCAM")
CLASSES = [281, 7]
# With the grid of the layer that the exporter chooses, by hand.
MODELS = {
    "torchvision:vit_b_16": library.tokens(1, (14, 14)),
    "torchvision:swin_t": None,
    "torchvision:convnext_tiny": None,
    "timm:deit_base_distilled_patch16_224": library.tokens(2, (14, 14)),
    "timm:swin_tiny_patch4_window7_224": library.channels_last,
}

# Run in the repository's root, where the package finds itself by name.
NODE_SCRIPT = """
import { readFileSync, writeFileSync } from 'node:fs';
import * as library from 'node-gradcam';

const [modelPath, inputPath, folder, shape, classes, methods] = process.argv.slice(1);
const bytes = readFileSync(inputPath);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const described = await library.loadModelWithSidecar(modelPath);
for (const method of JSON.parse(methods)) {
  const cam = new library[method](described.camOptions);
  const input = library.Tensor.from(values, JSON.parse(shape));
  const { heatmaps } = await cam.explain(input, { targets: JSON.parse(classes) });
  writeFileSync(`${folder}/${method}.bin`, heatmaps.toTypedArray());
}
await described.dispose();
"""


def scale_head(model: torch.nn.Module) -> None:
    """A wider last layer keeps the gradients far from pytorch-grad-cam's 1e-7."""
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.out_features == 1000:
            module.weight.data.normal_(std=0.5, generator=generator)


def compare(name: str, transform, folder: Path) -> bool:
    arguments = [name, "-o", str(folder / "model.pt"), "--force"]
    model = exporter.load(exporter.parse(arguments)).model
    scale_head(model)
    torch.save(model.state_dict(), folder / "model.pth")
    assert exporter.main([*arguments, "--checkpoint", str(folder / "model.pth")]) == 0
    layer = json.loads((folder / "model.json").read_text())["layer"]
    x = torch.randn((2, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    x.numpy().astype("<f4").tofile(folder / "input.bin")
    strings = [str(folder / "model.pt"), str(folder / "input.bin"), str(folder)]
    strings += [json.dumps(value) for value in (list(x.shape), CLASSES, METHODS)]
    subprocess.run(["node", "--input-type=module", "--eval", NODE_SCRIPT, "--", *strings], cwd=ROOT, check=True)
    targets, agree = library.new_targets([[c] for c in CLASSES]), True
    for method in METHODS:
        ours = np.fromfile(folder / f"{method}.bin", "<f4")

        def run(module, image, method=method):
            return library.run(method, module, [layer], image, targets, transform)

        exact, theirs = run(doubled(model), x.double()), in_float32(run, model, x)
        assert (exact.reshape(2, -1).std(1) > 0.02).all(), f"{name} {method}: the maps say nothing"
        agree = within_bounds(method, ours, exact, theirs) and agree
    return agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--threads", type=int, default=2, help="threads for PyTorch (default: 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    agree = True
    for name in arguments.models:
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            agree = compare(name, MODELS[name], Path(folder)) and agree
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
