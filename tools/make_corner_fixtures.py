"""Makes test/fixtures/corners: augmentations with targets that know of places, attention of several inputs, and corners of
loading and running a file.

    python tools/make_corner_fixtures.py

The expected values are plain PyTorch's, in double precision. Maps are Grad-CAM's (Selvaraju et al. 2017), LeGrad's (Bousselham
et al. 2024), Ablation-CAM's (Desai and Ramaswamy 2020) and FullGrad's (Srinivas and Fleuret 2019), of the layer's size, scaled
to 0..1. Of augmentations the mean of the six maps, mirrored ones mirrored back, with a target that is mirrored with the image.
"""

import copy
import json
import zlib
from pathlib import Path

import torch
from torch import nn

import corner_models as models
from torchscript_file import save_torchscript

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "corners"
AUGMENTATIONS = [(flip, factor) for flip in (False, True) for factor in (0.9, 1.0, 1.1)]


def unit(maps):
    low = maps.amin((1, 2), keepdim=True)
    return (maps - low) / ((maps - low).amax((1, 2), keepdim=True) + 1e-7)


def grad_cam(model, layer, inputs, score_of):
    """-> [1, H, W] and the score"""
    kept = {}
    handle = layer.register_forward_hook(lambda module, given, output: kept.__setitem__("activation", output))
    score = score_of(model(*inputs))
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept["activation"])
    return unit(unit((gradient.mean((2, 3), keepdim=True) * kept["activation"]).sum(1).relu())).detach(), score.item()


def smoothed(model, x, score_of):
    """`score_of(output, flip)`"""
    maps = []
    for flip, factor in AUGMENTATIONS:
        changed = (x.flip(-1) if flip else x) * factor
        found, _ = grad_cam(model, model.body, [changed], lambda output: score_of(output, flip))
        maps.append(found.flip(-1) if flip else found)
    return torch.stack(maps).mean(0)


def chance(*words):
    return torch.Generator().manual_seed(zlib.crc32(repr(words).encode()))


def initialised(model, scale=0.4):
    for name, parameter in model.named_parameters():
        nn.init.uniform_(parameter, -scale, scale, generator=chance(type(model).__name__, name))
    return model.eval()


def shaped(tensor):
    values = [float(f"{value:.7g}") for value in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "values": values}


def picture(*shape):
    return torch.rand(*shape, generator=chance("picture", shape)).round(decimals=3)


def save(name, model, *example):
    exported = torch.jit.trace(copy.deepcopy(model), example) if example else torch.jit.script(copy.deepcopy(model))
    save_torchscript(exported, FOLDER / f"{name}.pt")


def segmentation():
    model, x = initialised(models.Segments()), picture(1, 3, 16, 16)
    save("segments", model, x)
    mask = (torch.arange(64).view(8, 8) % 8 < 3).float() * torch.rand(8, 8, generator=chance("mask")).round(decimals=3)
    score = lambda output, flip: (output[0, 1] * (mask.flip(-1) if flip else mask)).sum()
    return {"input": shaped(x), "mask": shaped(mask), "map": shaped(smoothed(model.double(), x.double(), score))}


def overlap(box, other):
    low, high = torch.maximum(box[:2], other[:2]), torch.minimum(box[2:], other[2:])
    both = (high - low).clamp_min(0).prod()
    return both / ((box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - both)


def detection():
    x = picture(1, 3, 16, 24)
    model = initialised(models.Detects())
    save("detects", model)
    # Beside the detection: the overlap with the same box has no slope.
    box = (model(x)[0]["boxes"][0].detach() + 0.05).round(decimals=2)
    model, threshold = model.double(), 0.05

    def score(output, flip):
        found = output[0]["boxes"][0]
        if flip:
            found = torch.stack([24 - found[2], found[1], 24 - found[0], found[3]])
        shared = overlap(found, box.double())
        assert shared > threshold, "the mirrored image must be found, or the case tells nothing"
        return (shared.detach() if shared > 1 - 1e-4 else shared) + output[0]["scores"][0]

    return {"input": shaped(x), "box": shaped(box), "threshold": threshold, "map": shaped(smoothed(model, x.double(), score))}


def rank():
    x = picture(1, 3, 16, 16)
    model = initialised(models.ChangesItsMind())
    with torch.no_grad():  # class 0 leads class 1 by a hair, and grows slower
        features = torch.relu(model.body(x)).mean((2, 3))[0] ** 2
        model.head.weight[1] = model.head.weight[0] * 2
        model.head.weight[2] = 0
        model.head.bias[1] = model.head.bias[0] - model.head.weight[0] @ features * 1.001
        model.head.bias[2] = -9
    save("changes-its-mind", model, x)
    model, x = model.double(), x.double()
    plain = model(x).argmax().item()
    found = {model((x.flip(-1) if flip else x) * factor).argmax().item() for flip, factor in AUGMENTATIONS}
    assert len(found) > 1, "the class must change"
    return {"input": shaped(x), "class": plain, "map": shaped(smoothed(model, x, lambda output, flip: output[0, plain]))}


def towers():
    model = initialised(models.Towers(), 0.6)
    cases = []
    x = picture(2, 3, 16, 16)
    for tokens in (17, 5, 7):
        text = picture(2, tokens, 8)
        if not cases:
            save("towers", model)
        exact, kept = copy.deepcopy(model).double(), {}

        def hook(module, given, output):
            q, k = module.query(given[0]), module.key(given[0])
            kept["weights"] = (q @ k.transpose(1, 2)).unsqueeze(1).softmax(-1)
            return given[0] + kept["weights"].squeeze(1) @ module.value(given[0])

        exact.image.register_forward_hook(hook)
        output = exact(x.double(), text.double())
        (gradient,) = torch.autograd.grad(output[:, 1].sum(), kept["weights"])
        attended = gradient.relu().mean((1, 2))[:, 1:].view(2, 4, 4)
        cases.append({"inputs": [shaped(x), shaped(text)], "map": shaped(unit(unit(attended)))})
    return cases


def many_prefix_tokens():
    model, x = initialised(models.ManyPrefixTokens()), picture(1, 3, 32, 32)
    save("many-prefix-tokens", model)
    model, x = model.double(), x.double()
    kept = {}
    model.norm.register_forward_hook(lambda module, given, output: kept.__setitem__("tokens", output))
    score = model(x)[0, 1]
    (gradient,) = torch.autograd.grad(score, kept["tokens"])
    as_map = lambda tokens: tokens[:, 17:].transpose(1, 2).reshape(1, 8, 8, 8)
    activation, gradient = as_map(kept["tokens"]), as_map(gradient)
    found = unit(unit((gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu()))
    return {"input": shaped(x), "map": shaped(found)}


def outputs(model, x):
    return {"input": shaped(x), "outputs": shaped(model(x))}


def loading():
    x = picture(1, 3, 16, 16)
    lists, frozen = initialised(models.KeepsLists()), initialised(models.Plain())
    save("keeps-lists", lists)
    freeze = lambda model: torch.jit.freeze(torch.jit.script(copy.deepcopy(model)))
    save_torchscript(freeze(lists), FOLDER / "frozen-lists.pt")
    save_torchscript(freeze(frozen), FOLDER / "frozen.pt")
    half = copy.deepcopy(frozen).half()
    save_torchscript(freeze(half), FOLDER / "frozen-half.pt")
    # The numbers of the file, computed in double precision.
    exact = copy.deepcopy(lists).double()
    exact.weights = [each.double() for each in lists.weights]
    exact.named = {name: each.double() for name, each in lists.named.items()}
    return {
        "lists": outputs(exact, x.double()),
        "frozen": outputs(copy.deepcopy(frozen).double(), x.double()),
        "frozenHalf": outputs(half.double(), x.double()),
    }


def pair():
    model = initialised(models.TakesListOrPair())
    save("takes-list-or-pair", model)
    x, weights = picture(2, 3, 16, 16), picture(2, 8)
    exact = model.double()
    maps = []
    for index in range(2):
        own = [x[index : index + 1].double(), weights[index : index + 1].double()]
        kept = {}
        handle = exact.body.register_forward_hook(lambda module, given, output: kept.__setitem__("activation", output))
        score = exact.pair(*own)[0, 1]
        handle.remove()
        (gradient,) = torch.autograd.grad(score, kept["activation"])
        maps.append(unit(unit((gradient.mean((2, 3), keepdim=True) * kept["activation"]).sum(1).relu())))
    return {"inputs": [shaped(x), shaped(weights)], "map": shaped(torch.cat(maps))}


def hands_on_list():
    model, x = initialised(models.HandsOnList()), picture(1, 3, 16, 16)
    save("hands-on-list", model)
    model, x = model.double(), x.double()
    activation = model.body(x).detach()
    score_of = lambda features: model.head(torch.relu(features).mean((2, 3)) + 0.5)[0, 1]
    score, weights = score_of(activation), []
    for channel in range(8):
        without = activation.clone()
        without[:, channel] = activation.min() - 1e7
        weights.append((score - score_of(without)) / score)
    found = (torch.stack(weights)[None, :, None, None] * activation).sum(1).relu()
    return {"input": shaped(x), "map": shaped(unit(unit(found)))}


def full_grad_of_gates():
    """Of the layer with two outputs FullGrad leaves the bias out: there is no one gradient that it belongs to."""
    model, x = initialised(models.Gated()), picture(1, 3, 8, 8)
    save("gated", model)
    model, x = model.double(), x.double().requires_grad_()
    kept = {}
    model.body.register_forward_hook(lambda module, given, output: kept.__setitem__("body", output))
    score = model(x)[0, 1]
    of_input, of_body = torch.autograd.grad(score, [x, kept["body"]])
    terms = [(x * of_input).abs()[0], (model.body.bias[:, None, None] * of_body[0]).abs()]
    return {"input": shaped(x), "map": shaped(unit(sum(unit(each).sum(0, keepdim=True) for each in terms)))}


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    written = {
        "segmentation": segmentation(),
        "detection": detection(),
        "rank": rank(),
        "towers": towers(),
        "manyPrefixTokens": many_prefix_tokens(),
        "loading": loading(),
        "pair": pair(),
        "handsOnList": hands_on_list(),
        "fullGradOfGates": full_grad_of_gates(),
    }
    save("gives-tokens", initialised(models.GivesTokens()))
    save("calls-again", initialised(models.CallsAgain()))
    save("leaves-nothing", initialised(models.LeavesNothing()))
    (FOLDER / "golden.json").write_text(json.dumps(written, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
