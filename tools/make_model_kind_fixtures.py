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

import torch
from torch import nn

from argument_kinds import ListOfImages, Options, Remembers, TakesNumber
from model_kinds import (
    ActivatesSum,
    AddsChannelAxis,
    AppendsThenWrites,
    AsksRank,
    AsksStrides,
    ClassToken,
    Counts,
    Encoder,
    EncoderInFront,
    ExpandsAsOldTraces,
    Masked,
    NamesOutputs,
    NormalisesFlatMaps,
    NormalisesInput,
    Resizes,
    RewritesSkip,
    RowsOfTwoKinds,
    SetsFlags,
    Shuffle,
    SignalTokens,
    TakesChannelsLast,
    Trains,
    Tutorial,
    Unpacks,
    Windows,
    WritesBehindDropout,
    WritesBehindSigmoid,
    WritesIntoChunk,
    WritesThroughDictionary,
    WritesThroughView,
)
from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "model-kinds"


def scaled(maps):
    """[B, H, W] -> each map scaled to 0..1, as pytorch-grad-cam does for a layer and then for the mean of the layers."""
    return unit(unit(maps))


def unit(maps):
    low = maps.amin(tuple(range(1, maps.dim())), keepdim=True)
    return (maps - low) / ((maps - low).amax(tuple(range(1, maps.dim())), keepdim=True) + 1e-7)


def run(model, layer, inputs, arguments):
    kept = {}
    handle = layer.register_forward_hook(lambda module, given, output: kept.__setitem__("activation", output))
    output = model(*inputs, **arguments)
    handle.remove()
    output = output if isinstance(output, torch.Tensor) else output[0]
    return kept["activation"], output


def grad_cam(model, layer, inputs, category, arguments, channels_last=False):
    activation, output = run(model, layer, inputs, arguments)
    (gradient,) = torch.autograd.grad(output[:, category].sum(), activation)
    if channels_last:
        activation, gradient = activation.movedim(-1, 1), gradient.movedim(-1, 1)
    space = tuple(range(2, activation.dim()))
    maps = (gradient.mean(space, keepdim=True) * activation).sum(1).relu()
    return scaled(maps.detach()), output.detach()


def grad_cam_channels_last(model, layer, inputs, category, arguments):
    return grad_cam(model, layer, inputs, category, arguments, channels_last=True)


def ablation_cam(model, layer, inputs, category, arguments):
    activation, output = run(model, layer, inputs, copy.deepcopy(arguments))
    weights = []
    for channel in range(activation.size(1)):
        without = activation.detach().clone()
        least = activation.min().item()
        fill = 0 if least == 0 else least - 1e7
        without[:, channel] = fill
        handle = layer.register_forward_hook(lambda module, given, result: without)
        score = model(*inputs, **copy.deepcopy(arguments))[:, category]
        handle.remove()
        weights.append((output[:, category] - score) / output[:, category])
    weights = torch.stack(weights, 1)
    maps = (weights.view(weights.shape + (1,) * (activation.dim() - 2)) * activation).sum(1).relu()
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
    yield "writes-into-parts", torch.jit.script, WritesIntoChunk(True), WritesIntoChunk(False), "conv", [pictures(2)], {}
    yield "writes-behind-dropout", torch.jit.script, WritesBehindDropout(True), WritesBehindDropout(False), "conv", [pictures(2)], {}
    yield "writes-through-dictionary", torch.jit.script, WritesThroughDictionary(), None, "top", [pictures(2)], {}
    yield "class-token", torch.jit.script, ClassToken(False), ClassToken(True), "conv", [pictures(1)], {}
    yield "rows-of-two-kinds", torch.jit.script, RowsOfTwoKinds(), None, "body", [pictures(2)], {"method": "AblationCAM"}
    yield "appends-then-writes", torch.jit.script, AppendsThenWrites(), None, "top", [pictures(2)], {}
    yield "counts", torch.jit.script, Counts(), None, "conv", [pictures(2)], {}
    yield "unpacks", torch.jit.script, Unpacks(), None, "body", [pictures(2)], {"method": "AblationCAM"}
    yield "asks-rank", torch.jit.script, AsksRank(), None, "conv", [pictures(2)], {}
    for name, how in (("encoder", {}), ("encoder-norm-first", {"norm_first": True, "activation": "gelu"})):
        yield name, "trace without gradients", Encoder(**how), None, "patch", [pictures(2)], {}
    yield "encoder-scripted", torch.jit.script, Encoder(), None, "patch", [pictures(2)], {}
    yield "encoder-in-front", torch.jit.script, EncoderInFront(False), None, "top", [pictures(2)], {}
    yield "padded-encoder", "trace without gradients", EncoderInFront(True), None, "top", [pictures(2)], {}
    yield "padded-encoder-scripted", torch.jit.script, EncoderInFront(True), None, "top", [pictures(2)], {}
    yield "resizes", torch.jit.script, Resizes(True), Resizes(False), "body", [pictures(2)], {}
    yield "expands-as-old-traces", torch.jit.script, ExpandsAsOldTraces(True), ExpandsAsOldTraces(False), "conv", [pictures(2)], {}
    yield "sets-flags", torch.jit.script, SetsFlags(), None, "body", [pictures(2)], {}
    yield "names-outputs", torch.jit.script, NamesOutputs(), None, "conv", [pictures(2)], {"output": "logits"}
    mask = torch.zeros(2, 22 * 22)
    mask[:, ::3] = -torch.inf
    yield "masked", torch.jit.script, Masked(), None, "conv", [pictures(2), mask], {}
    yield "activates-sum", torch.jit.trace, ActivatesSum(), None, "top", [pictures(2)], {}
    last = {"method": "GradCAM, channels last"}
    signal = torch.rand(2, 2, 64, generator=torch.Generator().manual_seed(4)).round(decimals=3)
    yield "signal-tokens", torch.jit.trace, SignalTokens(), None, "norm", [signal], last
    yield "windows", torch.jit.trace, Windows(), None, "block", [pictures(2)], last
    yield "takes-channels-last", torch.jit.trace, TakesChannelsLast(), None, "conv", [pictures(2).permute(0, 2, 3, 1).contiguous()], {}
    yield "adds-channel-axis", torch.jit.script, AddsChannelAxis(), None, "conv", [pictures(2)[:, 0]], {}
    yield "trains", "trace in training mode", Trains(), None, "bn", [pictures(3)], {}
    yield from cases_of_arguments()
    yield "normalises-flat-maps", torch.jit.trace, NormalisesFlatMaps(), None, "norm", [pictures(2)], {}


def cases_of_arguments():
    """What forward takes beside tensors. Cases of one file have its name before a colon."""
    offset = torch.linspace(-0.2, 0.2, 16).reshape(2, 8).round(decimals=3)
    inputs = [pictures(2, size=14), offset]
    table = [round(0.5 + 0.125 * index, 3) for index in range(8)]
    every = {
        "scale": 2,
        "times": 2,
        "square": True,
        "activation": "tanh",
        "shift": 0.25,
        "kept": [7, 0, 2, 5],
        "window": [3, 2],
        "gains": {"all": 1.5, "more": -0.25},
        "tables": [table, [1.5]],
    }
    most = {name: value for name, value in every.items() if name not in ("times", "square", "shift")}
    for name, layer, arguments, more in (
        ("defaults", "body", {"scale": 0.5}, {}),
        ("every", "body", every, {}),
        ("early", "conv", every, {}),
        ("nothing", "body", {"scale": 1.5, "shift": None, "kept": None, "gains": None, "tables": None}, {}),
        ("ablated", "body", most, {"method": "AblationCAM"}),
        ("ablated-early", "conv", every, {"method": "AblationCAM", "target": 4}),
    ):
        yield f"options:{name}", torch.jit.script, Options(), None, layer, inputs, {**more, "arguments": arguments}
    signal = torch.rand(2, 40, generator=torch.Generator().manual_seed(5)).round(decimals=3)
    for name, layer, rate, more in (
        ("fast", "fast.encoder.0", 16000, {}),
        ("slow", "slow.encoder.0", 8000, {"target": 0}),
        ("slow-late", "slow.encoder.2", 8000, {"target": 2}),
        ("ablated", "fast.encoder.0", 16000, {"method": "AblationCAM", "target": 2}),
        ("ablated-late", "slow.encoder.2", 8000, {"method": "AblationCAM"}),
    ):
        more = {**more, "arguments": {"sr": rate}}
        yield f"remembers:{name}", torch.jit.script, Remembers(True), Remembers(False), layer, [signal], more
    for name, rate, more in (("one", 1.5, {"method": "AblationCAM"}), ("each", [1.5, 0.5], {"target": 3})):
        more = {**more, "arguments": {"rate": rate}}
        yield f"takes-number:{name}", torch.jit.trace, TakesNumber(), None, "conv", [pictures(2, size=14)], more
    listed = {"target": 3, "arguments": {"exponent": 1.5}}
    yield "list-of-images", torch.jit.script, ListOfImages(), None, "conv", [pictures(2, size=14)], listed


# Parameters that are tensors, or hold some.
TENSORS = {"rate": lambda value, dtype: torch.tensor(value, dtype=dtype), "tables": lambda value, dtype: [torch.tensor(each, dtype=dtype) for each in value]}


def in_python(arguments, dtype):
    """Arguments as Python wants what JSON holds."""
    return {
        name: TENSORS[name](value, dtype) if name in TENSORS and value is not None else value
        for name, value in copy.deepcopy(arguments).items()
    }


def export(how, model, inputs, arguments):
    if how == torch.jit.script:
        return torch.jit.script(model)
    if how == "trace without gradients":
        with torch.no_grad():
            return torch.jit.trace(model, tuple(inputs), check_trace=False)
    return torch.jit.trace(model, (*inputs, *in_python(arguments, torch.float32).values()), check_trace=False)


def numbers(tensor):
    return [round(value, 7) if value == value and abs(value) != float("inf") else "-inf" for value in tensor.flatten().tolist()]


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    written = []
    for name, how, model, clean, layer, inputs, more in cases():
        file_name = name.split(":")[0]
        arguments = more.get("arguments", {})
        torch.manual_seed(zlib.crc32(file_name.encode()))
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -0.3, 0.3)
        model.train(how == "trace in training mode")
        if clean is not None:
            clean.load_state_dict(model.state_dict())
            clean.eval()
        truth = clean or model
        if file_name not in {each["file"] for each in written}:
            file = export(how, copy.deepcopy(model), [each.clone() for each in inputs], arguments)
            save_torchscript(file, FOLDER / f"{file_name}.pt")
        torch.backends.mha.set_fastpath_enabled(False)
        method = METHODS[more.get("method", "GradCAM")]
        results = {}
        for dtype in (torch.float64, torch.float32):
            exact = copy.deepcopy(truth).to(dtype)
            given = [each.clone().to(dtype) for each in inputs]
            named = in_python(arguments, dtype)
            if file_name == "options":  # a tensor behind a number
                named["offset"] = given.pop()
            if file_name == "list-of-images":
                given = [list(given[0])]
            results[dtype] = method(exact, dict(exact.named_modules())[layer], given, more.get("target", 1), named)
        torch.backends.mha.set_fastpath_enabled(True)
        (maps, outputs), (rough_maps, rough_outputs) = results[torch.float64], results[torch.float32]
        written.append({
            "name": name,
            "file": file_name,
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
