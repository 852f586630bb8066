"""Makes test/fixtures/axes: tiny networks whose places do not lie where a picture's lie.

    python tools/make_axes_fixtures.py

Tokens in the order of mask units (Hiera), in grids that are undone (MaxViT), video with its frames before its channels, and
frames or mirrored copies that run as one batch, of which there is no map. Maps are Grad-CAM's by plain autograd of the
network in double precision (`referenceError`: how far its float32 run is from that), at the input's size: scaled, resized
(half-pixel centres), scaled. Where each token lies is read off a tensor of indices that went the tokens' way.
"""

import copy
import json
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from make_layer_output_fixtures import numbers, unit
from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "axes"


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.linear(self.norm(x)).relu()


def unroll(x, height: int, width: int, steps: int):
    """Hiera's: [B, height * width, C] -> the same tokens, the places of each step before the units."""
    batch, channels = x.size(0), x.size(2)
    count = height * width
    x = x.view(batch, height, width, channels)
    for _ in range(steps):
        height, width = height // 2, width // 2
        x = x.view(-1, height, 2, width, 2, channels).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return x.reshape(-1, count, channels)


def pooled(x):
    return x.view(x.size(0), 4, x.size(1) // 4, x.size(2)).amax(1)


class MaskUnits(nn.Module):
    """Hiera in small: tokens by mask units, pooled as neighbours in memory."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.first, self.second, self.third, self.head = Block(8), Block(8), Block(8), nn.Linear(8, 5)

    def tokens(self, x):
        return self.patch(x).flatten(2).transpose(1, 2)

    def forward(self, x):
        x = unroll(self.tokens(x), 16, 12, 2)
        x = pooled(self.first(x))
        x = pooled(self.second(x))
        return self.head(self.third(x).mean(1))


class UndoesGrid(nn.Module):
    """MaxViT's grid attention in small: the order is undone before the next layer."""

    def __init__(self):
        super().__init__()
        self.patch, self.inside, self.behind = nn.Conv2d(3, 8, 2, 2), Block(8), Block(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patch(x).permute(0, 2, 3, 1)
        x = x.reshape(-1, 4, 4, 4, 3, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, 16, 8)
        x = self.inside(x)
        x = x.reshape(-1, 4, 3, 4, 4, 8).permute(0, 3, 1, 4, 2, 5).reshape(-1, 16 * 12, 8)
        return self.head(self.behind(x).mean(1))


class Video(nn.Module):
    """Frames come first, [B, T, C, H, W], and convolutions run over time too."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv3d(3, 8, 3, 2), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.conv(x.transpose(1, 2)).relu().mean((2, 3, 4)))


class VideoTokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.tubes, self.norm, self.head = nn.Conv3d(3, 8, (2, 4, 4), (2, 4, 4)), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.tubes(x.transpose(1, 2)).flatten(2).transpose(1, 2)
        return self.head(self.norm(x).relu().mean(1))


class FramesAsBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 5)

    def forward(self, x):
        frames = self.conv(x.flatten(0, 1)).relu().mean((2, 3))
        return self.head(frames).view(x.size(0), x.size(1), 5).mean(1)


class Mirrors(nn.Module):
    """Test-time augmentation inside the model."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 5)

    def forward(self, x):
        both = self.head(self.conv(torch.cat([x, x.flip(3)])).relu().mean((2, 3)))
        return both.view(2, -1, 5).mean(0)


def places_in_rows(order, size, height, width):
    """For tokens whose places have these indices in a picture of `size`, where each lies on a grid of height x width."""
    rows = torch.div(order, size[1], rounding_mode="floor") * height // size[0]
    return rows * width + order % size[1] * width // size[1]


def units_on_grid(tokens, steps_left):
    """[B, tokens, C] of MaskUnits -> [B, C, height, width]."""
    indices = torch.arange(16 * 12, dtype=torch.float64)[None, :, None]
    order = unroll(indices, 16, 12, 2)
    for _ in range(2 - steps_left):
        order = order.view(1, 4, -1, 1)[:, 0]  # the first of what is pooled tells the place
    height, width = 16 >> (2 - steps_left), 12 >> (2 - steps_left)
    places = places_in_rows(order.flatten().long(), (16, 12), height, width)
    grid = torch.empty_like(tokens)
    grid[:, places] = tokens
    return grid.transpose(1, 2).unflatten(2, (height, width))


def cases():
    picture = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1)).round(decimals=2)
    video = torch.rand(2, 6, 3, 12, 16, generator=torch.Generator().manual_seed(2)).round(decimals=2)
    tokens = {"kind": "tokens", "prefixTokens": 0}
    for steps_left, layer in ((2, "first"), (1, "second"), (0, "third")):
        space = lambda x, steps_left=steps_left: units_on_grid(x, steps_left)  # noqa: E731
        yield "mask-units", MaskUnits(), layer, picture, space, tokens
    yield "undoes-grid", UndoesGrid(), "behind", picture, lambda x: x.transpose(1, 2).unflatten(2, (16, 12)), tokens
    yield "video", Video(), "conv", video, lambda x: x, None
    grid = {"kind": "tokens", "grid": [3, 3, 4]}
    yield "video-tokens", VideoTokens(), "norm", video, lambda x: x.transpose(1, 2).unflatten(2, (3, 3, 4)), grid
    yield "frames-as-batch", FramesAsBatch(), "conv", video, None, None
    yield "mirrors", Mirrors(), "conv", picture, None, None


def grad_cam(model, layer, given, space, category):
    kept = {}
    handle = dict(model.named_modules())[layer].register_forward_hook(lambda module, inputs, output: kept.__setitem__("activation", output))
    output = model(given)
    handle.remove()
    (gradient,) = torch.autograd.grad(output[:, category].sum(), kept["activation"])
    activation, gradient = space(kept["activation"]), space(gradient)
    axes = tuple(range(2, activation.dim()))
    maps = (gradient.mean(axes, keepdim=True) * activation).sum(1).relu().detach()
    video = given.dim() == 5
    size = (given.size(1), *given.shape[3:]) if video else given.shape[2:]
    resized = F.interpolate(unit(maps)[:, None], size=tuple(size), mode="trilinear" if video else "bilinear")[:, 0]
    return unit(resized), maps


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    written, inputs = [], {}
    for name, model, layer, given, space, reshape in cases():
        torch.manual_seed(zlib.crc32(name.encode()))
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -0.3, 0.3)
        model.eval()
        save_torchscript(torch.jit.trace(copy.deepcopy(model), given, check_trace=False), FOLDER / f"{name}.pt")
        kind = "video" if given.dim() == 5 else "picture"
        inputs[kind] = numbers(given)
        case = {"name": name, "layer": layer, "input": kind, "reshape": reshape}
        if space is not None:
            exact = copy.deepcopy(model).double()
            told = lambda category: int(grad_cam(exact, layer, given.double(), space, category)[1].flatten(1).amax(1).gt(0).sum())  # noqa: E731, B023
            case["category"] = max(range(5), key=told)
            assert told(case["category"]), f"{name}: all maps are zero"
            maps, _ = grad_cam(exact, layer, given.double(), space, case["category"])
            rough, _ = grad_cam(model, layer, given, space, case["category"])
            case["maps"] = numbers(maps)
            case["referenceError"] = float((rough - maps).abs().max())
        written.append(case)
    (FOLDER / "golden.json").write_text(json.dumps({"inputs": inputs, "cases": written}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
