"""Makes test/fixtures/scores: tiny models whose outputs mean different things, and pictures of more than eight bits.

    python tools/make_score_fixtures.py

Expected values are of the model in double precision by plain autograd: the outputs, their probabilities by softmax or
sigmoid, and Grad-CAM maps (Selvaraju et al. 2017, eq. 1 and 2), scaled to 0..1 and resized to the input. `referenceError` is
how far the same in float32 is from that. Pictures are resized by PyTorch in double precision.
"""

import copy
import json
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "scores"
SIZE = 24


class Classifier(nn.Module):
    """Convolutions, mean, linear layer, and what makes scores of its outputs."""

    def __init__(self, outputs, last=None):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.top = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(8, outputs)
        self.last = last or nn.Identity()

    def forward(self, x):
        return self.last(self.head(self.top(self.stem(x)).mean((2, 3))))


class Segmenter(nn.Module):
    """One channel for each pixel."""

    def __init__(self, last=None):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.seg = nn.Conv2d(8, 1, 1)
        self.last = last or nn.Identity()

    def forward(self, x):
        return self.last(F.interpolate(self.seg(self.deep(self.down(x))), scale_factor=2.0, mode="bilinear"))


def unit(maps):
    flat = maps.flatten(1)
    flat = flat - flat.min(1, keepdim=True)[0]
    return (flat / (flat.max(1, keepdim=True)[0] + 1e-7)).view_as(maps)


def grad_cam(model, layer, picture, score):
    """Grad-CAM of the score, resized to the picture."""
    kept = {}

    def keep(_module, _inputs, output):
        kept["activation"] = output
        return output.clone()

    handle = dict(model.named_modules())[layer].register_forward_hook(keep)
    (gradient,) = torch.autograd.grad(score(model(picture)), kept["activation"])
    handle.remove()
    weights = gradient.mean((2, 3), keepdim=True)
    small = unit((weights * kept["activation"].detach()).sum(1).relu())
    return unit(F.interpolate(small[:, None], size=picture.shape[2:], mode="bilinear")[:, 0])


def shifted(model, picture, wanted):
    """The model with its last bias such that it gives these outputs before `last`."""
    last, model.last = model.last, nn.Identity()
    with torch.no_grad():
        model.head.bias += torch.tensor(wanted) - model(picture)[0]
    model.last = last
    return model


def both(model, picture, score):
    """The float64 value of a score of a model, and how far float32 is from it."""
    exact = score(copy.deepcopy(model).double(), picture.double()).detach()
    rough = score(copy.deepcopy(model), picture).detach()
    return {"values": numbers(exact), "referenceError": float((rough - exact).abs().max())}


def numbers(tensor):
    return [round(value, 9) for value in tensor.double().flatten().tolist()]


def classifier_cases(picture):
    softmax, sigmoid = nn.Softmax(1), nn.Sigmoid()
    yield "one-logit-negative", shifted(Classifier(1), picture, [-2.0]), {"scores": "binary", "labels": ["healthy", "ill"]}
    yield "one-logit-positive", shifted(Classifier(1), picture, [1.5]), {"scores": "binary", "labels": ["healthy", "ill"]}
    # As a logit it speaks for the one class, as a probability for the other.
    yield "one-logit-small", shifted(Classifier(1), picture, [0.3]), {"scores": "binary", "labels": ["healthy", "ill"]}
    yield "one-sigmoid", shifted(Classifier(1, sigmoid), picture, [-0.7]), {"scores": "probabilities", "labels": ["healthy", "ill"]}
    yield "multi-label", shifted(Classifier(6), picture, [2.0, 1.5, 2.25, -3.0, -4.0, -2.0]), {"scores": "sigmoid"}
    yield "sigmoid-inside", shifted(Classifier(4, sigmoid), picture, [2.0, 1.5, -3.0, 0.5]), {"scores": "probabilities"}
    yield "softmax-inside", shifted(Classifier(4, softmax), picture, [1.0, 0.25, 1.5, 2.5]), {"scores": "probabilities"}
    yield "logits", shifted(Classifier(4), picture, [1.0, -0.5, 2.5, 0.25]), {"scores": "logits"}


def probabilities_of(scores, outputs):
    if scores == "logits":
        return outputs.softmax(1)
    positive = outputs if scores == "probabilities" else outputs.sigmoid()
    return torch.cat([1 - positive, positive], 1) if outputs.shape[1] == 1 else positive


def side(category):
    return lambda output: output.sum() if category == 1 else -output.sum()


def classifiers(picture):
    for name, model, meaning in classifier_cases(picture):
        save(name, model, picture)
        one = model.head.out_features == 1
        classes = 2 if one else model.head.out_features
        target = side if one else lambda category: lambda output: output[:, category].sum()
        yield {
            "name": name,
            **meaning,
            "outputs": both(model, picture, lambda m, x: m(x)),
            "probabilities": both(model, picture, lambda m, x: probabilities_of(meaning["scores"], m(x))),
            "maps": [
                both(model, picture, lambda m, x, c=c: grad_cam(m, "top", x, target(c))) for c in range(classes)
            ],
        }


def segmenters(picture):
    for name, last in (("segment-logits", None), ("segment-sigmoid", nn.Sigmoid())):
        model = Segmenter(last)
        with torch.no_grad():
            before = Segmenter()
            before.load_state_dict(model.state_dict())
            values = before(picture).flatten().sort()[0]
            middle = len(values) // 2
            # Between two pixels, so that rounding decides none.
            model.seg.bias -= (values[middle - 1] + values[middle]) / 2
        save(name, model, picture)
        exact = copy.deepcopy(model).double()(picture.double())[0, 0].detach()
        mask = (exact > (0.5 if last else 0)).double()
        yield {
            "name": name,
            "mask": [int(each) for each in mask.flatten()],
            "map": both(model, picture, lambda m, x: grad_cam(m, "deep", x, lambda o: (o[0, 0] * mask.to(o.dtype)).sum())),
        }


def save(name, model, picture):
    with torch.no_grad():
        save_torchscript(torch.jit.trace(model, picture.clone(), check_trace=False), FOLDER / f"{name}.pt")


def resized(values, size):
    """[H, W] by PyTorch, averaged where it shrinks."""
    picture = torch.from_numpy(values.astype("float64"))[None, None]
    return numbers(F.interpolate(picture, size=size, mode="bilinear", antialias=True))


def deep_pictures():
    """Files of more than eight bits, and their values as the model shall see them."""
    ramp = np.linspace(0, 4095, 32 * 32).round().reshape(32, 32)
    Image.fromarray(ramp.astype("uint16")).save(FOLDER / "twelve-bits.png")
    share = (ramp / 4095).astype("float32")
    Image.fromarray(share).save(FOLDER / "unit.tif")
    hounsfield = (ramp - 1024).astype("float32")
    Image.fromarray(hounsfield).save(FOLDER / "hounsfield.tif")
    window = ((hounsfield.astype("float64") + 160) / 400).clip(0, 1)
    return [
        {"file": "twelve-bits.png", "bits": 16, "range": None, "values": numbers(torch.from_numpy((ramp / 65535)))},
        {"file": "twelve-bits.png", "bits": 16, "range": [0, 4095], "values": numbers(torch.from_numpy((ramp / 4095)))},
        {"file": "unit.tif", "bits": 32, "range": None, "values": numbers(torch.from_numpy(share))},
        {"file": "hounsfield.tif", "bits": 32, "range": [-1024, 3071], "values": numbers(torch.from_numpy(((hounsfield + 1024) / 4095)))},
        {"file": "hounsfield.tif", "bits": 32, "range": [-160, 240], "values": numbers(torch.from_numpy(window))},
        {"file": "twelve-bits.png", "bits": 16, "range": [0, 4095], "size": 12, "values": resized(ramp / 4095, (12, 12))},
        {"file": "twelve-bits.png", "bits": 16, "range": [0, 4095], "size": 12, "antialias": False,
         "values": numbers(F.interpolate(torch.from_numpy(ramp / 4095)[None, None], size=(12, 12), mode="bilinear"))},
    ]


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(zlib.crc32(b"scores of models"))
    picture = torch.randint(0, 256, (1, 3, SIZE, SIZE)).float() / 255
    Image.fromarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8")).save(FOLDER / "picture.png")
    golden = {
        "picture": {"shape": list(picture.shape), "values": numbers(picture)},
        "classifiers": list(classifiers(picture)),
        "segmenters": list(segmenters(picture)),
        "pictures": deep_pictures(),
    }
    text = json.dumps(golden, separators=(",", ":"), default=float)
    (FOLDER / "golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
