"""Makes test/fixtures/model-kinds: tiny networks of kinds that other people write, each with what must not be got wrong.

    python tools/make_model_kind_fixtures.py

The expected maps and outputs are plain autograd's, of the model in double precision (`referenceError`: how far its float32
run is from that), on a network with the same weights that is written without what the file tests: without in-place writes,
without the fused operator. Maps have the layer's size, scaled to 0..1; Grad-CAM is Selvaraju et al. 2017, eq. 1 and 2, and
Ablation-CAM Desai and Ramaswamy 2020, eq. 3.
"""

import copy
import json
import zlib
from pathlib import Path
from typing import List, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "model-kinds"


class Tutorial(nn.Module):
    """Two convolutions, view, linear layers: PyTorch's own first classifier."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 8, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Linear(8 * 9, 12), nn.Linear(12, 5)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.view(-1, 72))))


class Shuffle(nn.Module):
    """A channel shuffle by view between grouped convolutions, as in ShuffleNet."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.a(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.head(F.relu(self.b(x)).mean((2, 3)))


class AsksStrides(nn.Module):
    """Takes another way where its features do not lie in rows."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.conv(x))
        if not x.is_contiguous():
            x = x * 3.0
        if x.stride(1) != x.size(2) * x.size(3):
            x = x + 1.0
        return self.head(x.mean((2, 3)))


class WritesThroughView(nn.Module):
    """flatten() gives a view where the features lie in rows: the write reaches them."""

    def __init__(self):
        super().__init__()
        self.conv, self.top, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        x.flatten(1).mul_(0.5)
        return self.head(F.relu(self.top(x)).mean((2, 3)))


class NormalisesInput(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = x.sub_(0.45).div_(0.25) if self.in_place else (x - 0.45) / 0.25
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


class WritesBehindSigmoid(nn.Module):
    """A detector's head that writes into the result of a sigmoid, whose derivative needs that result."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        y = self.head(F.relu(self.conv(x))).permute(0, 2, 3, 1).sigmoid()
        if self.in_place:
            y[..., 0:2] = y[..., 0:2] * 2 - 0.5
            y[..., 2:4] = (y[..., 2:4] * 2) ** 2
        else:
            y = torch.cat([y[..., 0:2] * 2 - 0.5, (y[..., 2:4] * 2) ** 2, y[..., 4:]], -1)
        return y.mean((1, 2))


class WritesIntoChunk(nn.Module):
    """Writes into one of the views that chunk() gave, and reads the whole afterwards."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.conv, self.top, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        if self.in_place:
            first, second = x.chunk(2, 1)
            first.sigmoid_()
            second.mul_(2)
        else:
            first, second = x.chunk(2, 1)
            x = torch.cat([first.sigmoid(), second * 2], 1)
        return self.head(F.relu(self.top(x)).mean((2, 3)))


class AppendsThenWrites(nn.Module):
    """Writes into a tensor that a list holds already."""

    def __init__(self):
        super().__init__()
        self.conv, self.top, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        parts: List[torch.Tensor] = []
        for step in range(2):
            y = self.conv(x)
            parts.append(y)
            y.view(-1).mul_(0.5 + step)
        return self.head(F.relu(self.top(torch.cat(parts, 1))).mean((2, 3)))


class Counts(nn.Module):
    """Keeps a number and a weight in attributes, and reads them in the same forward, as scripted detectors do."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.register_buffer("calls", torch.zeros(1))
        self.scale = torch.ones(1)

    def forward(self, x):
        self.calls.add_(1)
        self.scale = self.calls * 2
        return self.head(F.relu(self.conv(x)).mean((2, 3)) * self.scale)


class Unpacks(nn.Module):
    """Sizes unpacked from a shape in front of the layer, used behind it."""

    def __init__(self):
        super().__init__()
        self.conv, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        n, c, h, w = x.shape
        x = F.relu(self.body(F.relu(self.conv(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).view(n, -1))


class AsksRank(nn.Module):
    """A product that broadcasts to five axes, and a question for their number."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        y = x * torch.ones(1, 1, 1, 1, 1, dtype=x.dtype, device=x.device)
        if y.dim() == 5:
            x = x * 2.0
        return self.head(F.relu(x).mean((2, 3)))


class RewritesSkip(nn.Module):
    """The skip is rewritten between the addition and the activation."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.stem, self.conv, self.top = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        skip = self.stem(x)
        s = self.conv(skip) + skip
        if self.in_place:
            if x.size(0) > 0:
                skip.mul_(2.0)
        else:
            skip = skip * 2.0
        y = F.relu(s)
        return self.head(F.relu(self.top(y + skip)).mean((2, 3)))


class Encoder(nn.Module):
    """nn.TransformerEncoder, which a trace under no_grad holds as one operator a layer, without a derivative."""

    def __init__(self, **how):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **how)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.encoder(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class Fields(NamedTuple):
    logits: torch.Tensor
    features: torch.Tensor


class NamesOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.conv(x))
        return Fields(self.head(x.mean((2, 3))), x)


class Masked(nn.Module):
    """A second input of zeros and minus infinity."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x, mask):
        x = F.relu(self.conv(x))
        weights = (x.mean(1).flatten(1) + mask).softmax(1)
        return self.head((x.flatten(2) * weights.unsqueeze(1)).sum(2))


class Trains(nn.Module):
    """BatchNorm in training mode: the statistics are the batch's."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.relu(self.bn(self.conv(x))).mean((2, 3)))


class SignalTokens(nn.Module):
    """LayerNorm gives [B, places, channels], of as many axes as a map of a signal."""

    def __init__(self):
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv1d(2, 24, 4, 4), nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x):
        return self.head(self.norm(self.patch(x).transpose(1, 2)).relu().amax(1))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Windows(nn.Module):
    """A block gives [B, H, W, C], of as many axes as a map of an image, as Swin's do."""

    def __init__(self):
        super().__init__()
        self.patch, self.block, self.head = nn.Conv2d(3, 10, 4, 4), Mlp(10), nn.Linear(10, 5)

    def forward(self, x):
        return self.head(self.block(self.patch(x).permute(0, 2, 3, 1)).mean((1, 2)))


class TakesChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.relu(self.conv(x.permute(0, 3, 1, 2) * 2 - 1)).mean((2, 3)))


class AddsChannelAxis(nn.Module):
    """Takes [B, H, W], as spectrograms come."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3, padding=1, stride=2), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.relu(self.conv(x.unsqueeze(1))).mean((2, 3)))


def scaled(maps):
    """[B, H, W] -> each map scaled to 0..1, as pytorch-grad-cam does for a layer and then for the mean of the layers."""
    return unit(unit(maps))


def unit(maps):
    low = maps.amin(tuple(range(1, maps.dim())), keepdim=True)
    return (maps - low) / ((maps - low).amax(tuple(range(1, maps.dim())), keepdim=True) + 1e-7)


def run(model, layer, inputs):
    kept = {}
    handle = layer.register_forward_hook(lambda module, given, output: kept.__setitem__("activation", output))
    output = model(*inputs)
    handle.remove()
    output = output if isinstance(output, torch.Tensor) else output[0]
    return kept["activation"], output


def grad_cam(model, layer, inputs, category, channels_last=False):
    activation, output = run(model, layer, inputs)
    (gradient,) = torch.autograd.grad(output[:, category].sum(), activation)
    if channels_last:
        activation, gradient = activation.movedim(-1, 1), gradient.movedim(-1, 1)
    space = tuple(range(2, activation.dim()))
    maps = (gradient.mean(space, keepdim=True) * activation).sum(1).relu()
    return scaled(maps.detach()), output.detach()


def grad_cam_channels_last(model, layer, inputs, category):
    return grad_cam(model, layer, inputs, category, channels_last=True)


def ablation_cam(model, layer, inputs, category):
    activation, output = run(model, layer, inputs)
    weights = []
    for channel in range(activation.size(1)):
        without = activation.detach().clone()
        least = activation.min().item()
        fill = 0 if least == 0 else least - 1e7
        without[:, channel] = fill
        handle = layer.register_forward_hook(lambda module, given, result: without)
        score = model(*inputs)[:, category]
        handle.remove()
        weights.append((output[:, category] - score) / output[:, category])
    maps = (torch.stack(weights, 1)[..., None, None] * activation).sum(1).relu()
    return scaled(maps.detach()), output.detach()


METHODS = {"GradCAM": grad_cam, "GradCAM, channels last": grad_cam_channels_last, "AblationCAM": ablation_cam}


def pictures(count, channels=3, size=24):
    chance = torch.Generator().manual_seed(count)
    return torch.rand(count, channels, size, size, generator=chance).round(decimals=3)


def cases():
    """name, what the file holds, the model of the truth, the layer, the inputs, and more."""
    yield "tutorial", torch.jit.script, Tutorial(), None, "conv2", [pictures(1)], {}
    yield "tutorial-batch", torch.jit.trace, Tutorial(), None, "conv2", [pictures(3)], {}
    yield "shuffle", torch.jit.script, Shuffle(), None, "b", [pictures(2)], {}
    yield "shuffle-early", torch.jit.script, Shuffle(), None, "a", [pictures(2)], {}
    yield "asks-strides", torch.jit.script, AsksStrides(), None, "conv", [pictures(2)], {}
    yield "writes-through-view", torch.jit.script, WritesThroughView(), None, "top", [pictures(2)], {}
    for kind, layer in ((NormalisesInput, "conv"), (WritesBehindSigmoid, "conv"), (WritesIntoChunk, "top"), (RewritesSkip, "top")):
        clean = kind(False)
        dirty = kind(True)
        dirty.load_state_dict(clean.state_dict())
        name = "".join("-" + letter.lower() if letter.isupper() else letter for letter in kind.__name__).strip("-")
        yield name, torch.jit.script, dirty, clean, layer, [pictures(2)], {}
    yield "appends-then-writes", torch.jit.script, AppendsThenWrites(), None, "top", [pictures(2)], {}
    yield "counts", torch.jit.script, Counts(), None, "conv", [pictures(2)], {}
    yield "unpacks", torch.jit.script, Unpacks(), None, "body", [pictures(2)], {"method": "AblationCAM"}
    yield "asks-rank", torch.jit.script, AsksRank(), None, "conv", [pictures(2)], {}
    for name, how in (("encoder", {}), ("encoder-norm-first", {"norm_first": True, "activation": "gelu"})):
        yield name, "trace without gradients", Encoder(**how), None, "patch", [pictures(2)], {}
    yield "names-outputs", torch.jit.script, NamesOutputs(), None, "conv", [pictures(2)], {"output": "logits"}
    mask = torch.zeros(2, 22 * 22)
    mask[:, ::3] = -torch.inf
    yield "masked", torch.jit.script, Masked(), None, "conv", [pictures(2), mask], {}
    last = {"method": "GradCAM, channels last"}
    signal = torch.rand(2, 2, 64, generator=torch.Generator().manual_seed(4)).round(decimals=3)
    yield "signal-tokens", torch.jit.trace, SignalTokens(), None, "norm", [signal], last
    yield "windows", torch.jit.trace, Windows(), None, "block", [pictures(2)], last
    yield "takes-channels-last", torch.jit.trace, TakesChannelsLast(), None, "conv", [pictures(2).permute(0, 2, 3, 1).contiguous()], {}
    yield "adds-channel-axis", torch.jit.script, AddsChannelAxis(), None, "conv", [pictures(2)[:, 0]], {}
    yield "trains", "trace in training mode", Trains(), None, "bn", [pictures(3)], {}


def export(how, model, inputs):
    if how == torch.jit.script:
        return torch.jit.script(model)
    if how == "trace without gradients":
        with torch.no_grad():
            return torch.jit.trace(model, tuple(inputs), check_trace=False)
    return torch.jit.trace(model, tuple(inputs), check_trace=False)


def numbers(tensor):
    return [round(value, 7) if value == value and abs(value) != float("inf") else "-inf" for value in tensor.flatten().tolist()]


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    written = []
    for name, how, model, clean, layer, inputs, more in cases():
        torch.manual_seed(zlib.crc32(name.encode()))
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -0.3, 0.3)
        model.train(how == "trace in training mode")
        if clean is not None:
            clean.load_state_dict(model.state_dict())
            clean.eval()
        truth = clean or model
        file = export(how, copy.deepcopy(model), [each.clone() for each in inputs])
        save_torchscript(file, FOLDER / f"{name}.pt")
        torch.backends.mha.set_fastpath_enabled(False)
        method = METHODS[more.get("method", "GradCAM")]
        results = {}
        for dtype in (torch.float64, torch.float32):
            exact = copy.deepcopy(truth).to(dtype)
            given = [each.clone().to(dtype) for each in inputs]
            results[dtype] = method(exact, dict(exact.named_modules())[layer], given, 1)
        torch.backends.mha.set_fastpath_enabled(True)
        (maps, outputs), (rough_maps, rough_outputs) = results[torch.float64], results[torch.float32]
        written.append({
            "name": name,
            **more,
            "method": more.get("method", "GradCAM").split(",")[0],
            "layer": layer,
            "inputs": [{"shape": list(each.shape), "values": numbers(each)} for each in inputs],
            "maps": {"shape": list(maps.shape), "values": numbers(maps)},
            "outputs": {"shape": list(outputs.shape), "values": numbers(outputs)},
            "referenceError": {
                "maps": float((rough_maps - maps).abs().max()),
                "outputs": float((rough_outputs - outputs).abs().max()),
            },
        })
    (FOLDER / "golden.json").write_text(json.dumps({"cases": written}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
