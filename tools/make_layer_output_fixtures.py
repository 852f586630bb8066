"""Makes test/fixtures/layer-outputs: tiny networks with layers that give several tensors.

    python tools/make_layer_output_fixtures.py

Expected maps and outputs are those of the network in double precision, by plain autograd on what a forward hook of PyTorch
sees (`referenceError`: how far its float32 run is from that). A tensor that a layer gives may be what another is made of,
inside the layer: autograd's gradient of it goes through both. Maps have the layer's size, scaled to 0..1. EigenCAM is
pytorch-grad-cam's, with a reshape_transform like its fasterrcnn_reshape_transform that joins the levels at the finest one.
"""

import copy
import json
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from torch import nn

from layer_output_models import (
    Attends,
    Blocks,
    Gated,
    GatedInPlace,
    Recurrent,
    Twice,
    UsesGate,
    UsesParts,
    UsesPyramid,
    UsesStack,
)
from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "layer-outputs"
CLASSES = 5


def unit(maps):
    low = maps.amin(tuple(range(1, maps.dim())), keepdim=True)
    return (maps - low) / ((maps - low).amax(tuple(range(1, maps.dim())), keepdim=True) + 1e-7)


def scaled(maps):
    return unit(unit(maps.relu()))


def grid(tokens):
    side = int(tokens.size(1) ** 0.5)
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def as_it_is(maps):
    return maps


def channels_last(maps):
    return maps.movedim(-1, 1)


def first_of(output):
    return output[0] if isinstance(output, tuple) else output


def run(model, layer, given, call):
    calls = []
    handle = dict(model.named_modules())[layer].register_forward_hook(lambda module, inputs, output: calls.append(output))
    output = first_of(model(given))
    handle.remove()
    return calls[call], output


def grad_cam(model, case, given, category):
    kept, output = run(model, case["layer"], given, case.get("call", -1))
    for step in case["output"]:
        kept = getattr(kept, step) if hasattr(kept, "_fields") and isinstance(step, str) else kept[step]
    (gradient,) = torch.autograd.grad(output[:, category].sum(), kept)
    maps, gradient = case["space"](kept), case["space"](gradient)
    places = tuple(range(2, maps.dim()))
    return scaled((gradient.mean(places, keepdim=True) * maps).sum(1).detach()), output.detach()


def eigen_cam(model, case, given, _category):
    levels, output = run(model, case["layer"], given, -1)
    size = max((level.shape[2:] for level in levels.values()), key=lambda shape: shape.numel())
    joined = torch.cat([F.interpolate(level.detach().abs(), size=size, mode="bilinear") for level in levels.values()], 1)
    maps = torch.from_numpy(get_2d_projection(joined.numpy()))
    # The decomposition leaves the sign open: the place of largest magnitude is to be positive.
    extremes = torch.stack([maps.amin((1, 2)), maps.amax((1, 2))], 1)
    maps = maps * extremes.sum(1).sign()[:, None, None]
    return scaled(maps), output.detach()


def ablation_cam(model, case, given, category):
    """Of the first output, behind a ReLU: Desai and Ramaswamy 2020, eq. 3."""
    kept, output = run(model, case["layer"], given, -1)
    maps, rest = kept[0].detach(), kept[1:]
    weights = []
    for channel in range(maps.size(1)):
        without = maps.clone()
        without[:, channel] = 0
        handle = dict(model.named_modules())[case["layer"]].register_forward_hook(
            lambda module, inputs, result, without=without: (without, *rest)
        )
        score = model(given)[:, category]
        handle.remove()
        weights.append((output[:, category] - score) / output[:, category])
    return scaled((torch.stack(weights, 1)[..., None, None] * maps).sum(1).detach()), output.detach()


METHODS = {"GradCAM": grad_cam, "EigenCAM": eigen_cam, "AblationCAM": ablation_cam}


def pictures(count, size=24):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count)).round(decimals=3)


def cases():
    script, trace = torch.jit.script, torch.jit.trace
    tokens = {"space": grid, "reshape": "tokens"}
    for layer in ("b0", "b1"):
        yield {"name": "blocks", "how": script, "model": Blocks(), "layer": layer, "output": [0], **tokens}
    # A trace drops what is not used: here the weights of b0, which then gives one tensor.
    yield {"name": "blocks-traced", "how": trace, "model": Blocks(), "layer": "b0", "output": [0], "named": [], **tokens}
    yield {"name": "blocks-traced", "how": trace, "model": Blocks(), "layer": "b1", "output": [0], **tokens}
    for name, body in (("gated", Gated()), ("gated-in-place", GatedInPlace())):
        for output in (0, 1):
            yield {"name": name, "how": script, "model": UsesGate(body), "layer": "body", "output": [output]}
    yield {"name": "gated", "how": script, "model": UsesGate(Gated()), "layer": "body", "output": [0], "method": "AblationCAM"}
    yield {"name": "parts", "how": script, "model": UsesParts(), "layer": "body", "output": ["maps"]}
    for level in ("fine", "middle"):
        yield {"name": "pyramid", "how": script, "model": UsesPyramid(), "layer": "body", "output": [level]}
    yield {"name": "pyramid", "how": script, "model": UsesPyramid(), "layer": "body", "output": [], "method": "EigenCAM"}
    for position in (0, 1):
        yield {"name": "stack", "how": script, "model": UsesStack(), "layer": "stack", "output": [position]}
    signal = torch.rand(2, 3, 12, generator=torch.Generator().manual_seed(4)).round(decimals=3)
    yield {
        "name": "recurrent", "how": script, "model": Recurrent(), "layer": "lstm", "output": [0], "given": signal,
        "space": channels_last, "found": True,
    }
    yield {"name": "attends", "how": script, "model": Attends(), "layer": "attention", "output": [0], "found": True, **tokens}
    yield {"name": "twice", "how": script, "model": Twice(), "layer": "block", "output": [0], "call": 0, **tokens}


def telling_category(method, model, case, given):
    """The first class for which most maps hold something."""
    def told(category):
        return int(method(model, case, given, category)[0].flatten(1).amax(1).gt(0.5).sum())

    best = max(range(CLASSES), key=told)
    assert told(best), f"{case['name']}: all maps are zero"
    return best


def numbers(tensor):
    return {"shape": list(tensor.shape), "values": [round(value, 7) for value in tensor.flatten().tolist()]}


def main():
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)
    FOLDER.mkdir(exist_ok=True)
    written, inputs = [], {}
    for case in cases():
        name, model, given = case["name"], case["model"], case.get("given", pictures(2))
        case.setdefault("space", as_it_is)
        torch.manual_seed(zlib.crc32(name.encode()))
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -0.3, 0.3)
        model.eval()
        exported = copy.deepcopy(model)
        file = torch.jit.script(exported) if case["how"] is torch.jit.script else torch.jit.trace(exported, given, check_trace=False)
        save_torchscript(file, FOLDER / f"{name}.pt")
        method = METHODS[case.get("method", "GradCAM")]
        exact = copy.deepcopy(model).double()
        category = telling_category(method, exact, case, given.double())
        maps, outputs = method(exact, case, given.double(), category)
        rough_maps, rough_outputs = method(model, case, given, category)
        kind = "pictures" if given.dim() == 4 else "signals"
        inputs[kind] = numbers(given)
        written.append({
            "name": name,
            "method": case.get("method", "GradCAM"),
            **{key: case[key] for key in ("layer", "call", "reshape", "found") if key in case},
            "output": case.get("named", case["output"]),
            "input": kind,
            "category": category,
            "maps": numbers(maps),
            "outputs": numbers(outputs),
            "referenceError": {
                "maps": float((rough_maps - maps).abs().max()),
                "outputs": float((rough_outputs - outputs).abs().max()),
            },
        })
    (FOLDER / "golden.json").write_text(json.dumps({"inputs": inputs, "cases": written}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
