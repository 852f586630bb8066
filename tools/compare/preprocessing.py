"""Compares what `loadImage` makes of the demo's photo by an exported sidecar with what the model's own library makes of it.

Needs the built library (`npm run build`) and `node` on the path. Exits with 1 where the values differ by more than 1.5 of
255 levels on average: another crop, interpolation or normalisation differs by far more.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
import transformers
from PIL import Image
from torchvision.models import get_model_weights

import export_model as exporter

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
TOLERANCE = 1.5
NODE_SCRIPT = """
import { writeFileSync } from 'node:fs';
import { loadModelWithSidecar } from 'node-gradcam';
const [modelPath, photo, output] = process.argv.slice(1);
const described = await loadModelWithSidecar(modelPath);
const { tensor } = await described.loadImage(photo);
writeFileSync(output, tensor.toTypedArray());
await described.dispose();
"""


def of_torchvision(name):
    return next(iter(get_model_weights(name))).transforms()


def of_timm(name):
    config = timm.data.resolve_data_config({}, model=timm.create_model(name))
    return timm.data.create_transform(**config, is_training=False)


def of_hf(processor):
    return lambda photo: processor(photo, return_tensors="pt")["pixel_values"][0]


def tiny(config, **how):
    return config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3, **how)


def hf_models() -> dict:
    t = transformers
    small = t.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=3)
    return {
        "ViT": (t.ViTForImageClassification(tiny(t.ViTConfig)), t.ViTImageProcessor()),
        "DeiT": (t.DeiTForImageClassification(tiny(t.DeiTConfig)), t.DeiTImageProcessor()),
        "ConvNeXt": (t.ConvNextForImageClassification(small), t.ConvNextImageProcessor(size={"shortest_edge": 224})),
        "ConvNeXt 384": (t.ConvNextForImageClassification(small), t.ConvNextImageProcessor()),
    }


def ours(source: str, folder: Path, shape) -> np.ndarray:
    model = folder / "model.pt"
    assert exporter.main([source, "-o", str(model), "--force"]) == 0
    command = ["node", "--input-type=module", "--eval", NODE_SCRIPT, "--", str(model), str(PHOTO), str(folder / "x")]
    subprocess.run(command, cwd=ROOT, check=True)
    return np.fromfile(folder / "x", "<f4").reshape(shape)


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    photo = Image.open(PHOTO).convert("RGB")
    worst = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = {f"torchvision:{name}": of_torchvision(name) for name in ("resnet18", "efficientnet_b1", "swin_v2_t")}
        # A squashed, a centred and a nearly whole picture.
        names = ("resnet18", "vit_tiny_patch16_224", "convnext_atto", "vit_small_patch14_reg4_dinov2")
        cases |= {f"timm:{name}": of_timm(name) for name in names}
        for name, (model, processor) in hf_models().items():
            model.save_pretrained(folder / name)
            processor.save_pretrained(folder / name)
            cases[f"hf:{folder / name}"] = of_hf(processor)
        for source, transform in cases.items():
            theirs = transform(photo).numpy()
            levels = np.abs(ours(source, folder, theirs.shape) - theirs)
            # The deviation by which both were divided is about the same for all: see the sidecars.
            mean = float(levels.mean() * 255 * 0.25)
            worst = max(worst, mean)
            print(f"  {source.replace(str(folder) + '/', '')}: {theirs.shape}, mean difference {mean:.2f} levels\n", flush=True)
    print(f"largest mean difference: {worst:.2f} of 255 levels (allowed {TOLERANCE})")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
