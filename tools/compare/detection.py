"""Compares node-gradcam with pytorch-grad-cam on torchvision's full-size Faster R-CNN (ResNet-50, FPN): the same weights
(random, with a fixed seed), picture and boxes, which are the model's own. EigenCAM and AblationCAM of the whole pyramid,
GradCAM at one layer; and GradCAM of the pyramid against PyTorch's autograd.

Needs the built library (`npm run build`), torchvision's operators (`node scripts/fetch-torchvision.mjs`) and `node` on the
path. Exits with 1 if a map is further from the reference's in double precision than four times its own in float32, plus 1e-5.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam.ablation_layer import AblationLayerFasterRCNN
from pytorch_grad_cam.utils.model_targets import FasterRCNNBoxScoreTarget
from pytorch_grad_cam.utils.reshape_transforms import fasterrcnn_reshape_transform
from torch import nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from tools.fixtures.family import library, reference
from tools.fixtures.shared.float64_result import doubled, in_float32, within_bounds
from tools.fixtures.shared.torchscript_file import save_torchscript

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
LAYER = "backbone.body.layer4"

# Run in the repository's root, where the package finds itself by name.
NODE_SCRIPT = """
import { readFileSync, writeFileSync } from 'node:fs';
import { AblationCAM, EigenCAM, FasterRCNNBoxScoreTarget, GradCAM, loadModel, Tensor } from 'node-gradcam';

const [folder, shape, wanted, withAblation] = process.argv.slice(1);
const bytes = readFileSync(`${folder}/input.bin`);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const input = Tensor.from(values, JSON.parse(shape));
const model = await loadModel(`${folder}/model.pt`);
const { labels, boxes } = JSON.parse(wanted);
const targets = new FasterRCNNBoxScoreTarget(labels, boxes);
const at = { model, targetLayers: 'backbone', output: 1 };
const cams = {
  eigen: new EigenCAM(at),
  gradients: new GradCAM(at),
  layer: new GradCAM({ ...at, targetLayers: 'backbone.body.layer4' }),
  ...(withAblation === 'true' ? { ablation: new AblationCAM({ ...at, batchSize: 4 }) } : {}),
};
for (const [name, cam] of Object.entries(cams)) {
  const started = performance.now();
  const { heatmaps } = await cam.explain(input, { targets });
  console.error(`  node ${name}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  writeFileSync(`${folder}/${name}.bin`, heatmaps.toTypedArray());
}
await model.dispose();
"""


def make_model() -> nn.Module:
    torch.manual_seed(0)
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=224, max_size=320).eval()
    # Untrained, all boxes would be alike and none would be sure of anything.
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.05)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.05)
    model.roi_heads.detections_per_img = 4
    # TorchScript makes float32 tensors of these lists, whatever the model's type; so must the reference in double precision.
    for name in ("image_mean", "image_std"):
        setattr(model.transform, name, [float(np.float32(value)) for value in getattr(model.transform, name)])
    return model


def make_input(size: int) -> torch.Tensor:
    picture = Image.open(PHOTO).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def reference_maps(model: nn.Module, x: torch.Tensor, targets, with_ablation: bool) -> dict[str, np.ndarray]:
    transform = fasterrcnn_reshape_transform
    maps = {
        "eigen": library.run("EigenCAM", model, ["backbone"], x, targets, transform),
        "gradients": reference.pyramid_by_autograd(model, "backbone", x, targets),
        "layer": library.run("GradCAM", model, [LAYER], x, targets),
    }
    if with_ablation:
        options = {"batch_size": 4, "ablation_layer": AblationLayerFasterRCNN()}
        maps["ablation"] = library.run("AblationCAM", model, ["backbone"], x, targets, transform, constructor=options)
    return maps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads for PyTorch (default: 2)")
    parser.add_argument("--ablation", action="store_true", help="AblationCAM's 1280 channels too, which takes minutes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    model, x = make_model(), make_input(224)
    with torch.no_grad():
        (found,) = model(list(x))
    print(f"{len(found['boxes'])} boxes, labels {found['labels'].tolist()}, scores {found['scores'].tolist()}")
    boxes = found["boxes"].numpy() + np.float32([1.5, -1.5, 0.75, 1.5])
    labels = [int(label) for label in found["labels"]]
    targets = [FasterRCNNBoxScoreTarget(labels, boxes)]

    def run(module, image):
        return reference_maps(module, image, targets, arguments.ablation)

    exact, theirs = run(doubled(model), x.double()), in_float32(run, model, x)
    with tempfile.TemporaryDirectory() as folder:
        save_torchscript(torch.jit.script(model), Path(folder) / "model.pt")
        x.numpy().astype("<f4").tofile(Path(folder) / "input.bin")
        wanted = json.dumps({"labels": labels, "boxes": boxes.tolist()})
        command = ["node", "--input-type=module", "--eval", NODE_SCRIPT, "--", folder, str(list(x.shape)), wanted]
        subprocess.run([*command, str(arguments.ablation).lower()], cwd=ROOT, check=True)
        ours = {name: np.fromfile(Path(folder) / f"{name}.bin", "<f4") for name in exact}
    assert all(maps.std() > 0.03 for maps in exact.values()), "a map says nothing"
    return 0 if all([within_bounds(name, ours[name], exact[name], [maps[name] for maps in theirs]) for name in exact]) else 1


if __name__ == "__main__":
    sys.exit(main())
