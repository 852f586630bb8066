"""Makes the golden pictures of how photos become a model's input in test/fixtures/preparation/, with the original libraries:
Pillow and torchvision (averaging when they shrink), OpenCV (not)."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import v2

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "test" / "fixtures" / "preparation"
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
GRAY_BARS = (114, 114, 114)
PIL = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
CV2 = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def stretched(photo, width, height, interpolation):
    return v2.Resize((height, width), v2.InterpolationMode(interpolation), antialias=True)(photo)


def stretched_and_cropped(photo, width, height, interpolation):
    return v2.CenterCrop((height, width))(stretched(photo, width * 8 // 7, height * 8 // 7, interpolation))


def enlarged(photo, width, height, interpolation):
    resize = v2.Resize(360, v2.InterpolationMode(interpolation), antialias=True)
    return v2.CenterCrop((height, width))(resize(photo))


def contained(photo, width, height, interpolation):
    return ImageOps.pad(photo, (width, height), PIL[interpolation], color=GRAY_BARS)


def sampled(photo, width, height, interpolation):
    return Image.fromarray(cv2.resize(np.asarray(photo), (width, height), interpolation=CV2[interpolation]))


CASES = [
    ("torchvision, Resize((48, 64))", stretched, 64, 48, "bilinear", {"fit": "stretch"}),
    ("torchvision, Resize((80, 40))", stretched, 40, 80, "bicubic", {"fit": "stretch"}),
    (
        "torchvision, Resize((64, 96)), CenterCrop((56, 84))",
        stretched_and_cropped,
        84,
        56,
        "bicubic",
        {"fit": "stretch", "resize": 64},
    ),
    ("torchvision, Resize((20, 520)), enlarged along one axis", stretched, 520, 20, "bilinear", {"fit": "stretch"}),
    ("torchvision, Resize((360, 20)), enlarged along one axis", stretched, 20, 360, "bicubic", {"fit": "stretch"}),
    ("torchvision, Resize(360), CenterCrop, enlarged", enlarged, 64, 48, "bicubic", {"resize": 360}),
    ("Pillow, ImageOps.pad, bars above and below", contained, 64, 64, "bicubic", {"fit": "contain"}),
    ("Pillow, ImageOps.pad, bars left and right", contained, 97, 40, "bilinear", {"fit": "contain"}),
    ("OpenCV, INTER_LINEAR", sampled, 61, 43, "bilinear", {"fit": "stretch", "antialias": False}),
    ("OpenCV, INTER_CUBIC", sampled, 61, 43, "bicubic", {"fit": "stretch", "antialias": False}),
    ("OpenCV, INTER_LINEAR, enlarged", sampled, 600, 24, "bilinear", {"fit": "stretch", "antialias": False}),
]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    FIXTURES.mkdir(parents=True, exist_ok=True)
    photo = Image.open(PHOTO).convert("RGB")
    cases = []
    for index, (source, prepare, width, height, interpolation, options) in enumerate(CASES):
        name = f"{index}.png"
        prepare(photo, width, height, interpolation).save(FIXTURES / name)
        options = {"size": {"width": width, "height": height}, "interpolation": interpolation, **options}
        if options.get("fit") == "contain":
            options["paddingColor"] = GRAY_BARS
        cases.append({"source": source, "options": options, "file": f"preparation/{name}"})
    (FIXTURES / "golden.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
