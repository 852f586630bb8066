"""Makes the golden pictures of the image tests in test/fixtures/overlay/, with the original libraries.

Overlays come from pytorch-grad-cam's show_cam_on_image, the colours from OpenCV's COLORMAP_JET, and the prepared photos
from torchvision's Resize and CenterCrop.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pytorch_grad_cam.utils.image import show_cam_on_image
from torchvision.transforms import v2

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "test" / "fixtures" / "overlay"
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
WIDTH, HEIGHT = 40, 32
IMAGE_WEIGHTS = [0.0, 0.3, 0.5, 0.8, 1.0]
PREPARATIONS = [
    {"interpolation": "bilinear", "resize": 73, "width": 64, "height": 64},
    {"interpolation": "bicubic", "resize": 73, "width": 64, "height": 64},
    {"interpolation": "bilinear", "resize": 48, "width": 61, "height": 40},
]


def make_map() -> np.ndarray:
    """A smooth map, above it the values k/255 and their neighbours, where truncation and rounding come apart."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    smooth = np.exp(-((rows - 20) ** 2 + (columns - 13) ** 2) / 120, dtype=np.float32)
    steps = np.arange(256, dtype=np.float32) / np.float32(255)
    around = np.concatenate([steps, np.nextafter(steps, np.float32(0)), np.nextafter(steps[:-1], np.float32(1))])
    heat = smooth.ravel()
    heat[: around.size] = around
    assert heat.min() == 0 and heat.max() == 1
    return heat.reshape(HEIGHT, WIDTH)


def write_overlays() -> dict:
    random = np.random.default_rng(7)
    # Not up to 255: the brightest pixel of the mix must not be 1, or dividing by it would go untested.
    image = random.integers(0, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    heat = make_map()
    Image.fromarray(image).save(FIXTURES / "image.png")
    heat.astype("<f4").tofile(FIXTURES / "map.f32")
    cases = []
    for weight in IMAGE_WEIGHTS:
        name = f"overlay-{weight}.png"
        overlay = show_cam_on_image(np.float32(image) / 255, heat, use_rgb=True, image_weight=weight)
        Image.fromarray(overlay).save(FIXTURES / name)
        cases.append({"imageWeight": weight, "file": f"overlay/{name}"})
    return {"image": "overlay/image.png", "map": "overlay/map.f32", "shape": [HEIGHT, WIDTH], "cases": cases}


def write_preparations() -> list:
    photo = Image.open(PHOTO).convert("RGB")
    cases = []
    for index, case in enumerate(PREPARATIONS):
        transform = v2.Compose(
            [
                v2.Resize(case["resize"], interpolation=v2.InterpolationMode(case["interpolation"]), antialias=True),
                v2.CenterCrop((case["height"], case["width"])),
            ]
        )
        name = f"prepared-{index}.png"
        transform(photo).save(FIXTURES / name)
        cases.append({**case, "file": f"overlay/{name}"})
    return cases


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    FIXTURES.mkdir(parents=True, exist_ok=True)
    jet = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(1, -1), cv2.COLORMAP_JET)[0, :, ::-1]
    packages = ["grad-cam", "opencv-python-headless", "numpy", "pillow", "torchvision"]
    golden = {
        "madeWith": {name: version(name) for name in packages},
        "jet": jet.ravel().tolist(),
        "overlay": write_overlays(),
        "prepared": write_preparations(),
    }
    (FIXTURES / "golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
