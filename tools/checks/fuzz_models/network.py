"""Networks by number: which statements, which end, how it is exported."""

import copy
import importlib.util
import random
import sys
from pathlib import Path

import torch
from torch import nn

from sketch import Sketch
from statements import STATEMENTS

CLASSES = 5


def chance_of(*what) -> random.Random:
    return random.Random("/".join(map(str, what)))


def plan_of(seed: int, number: int, small: bool) -> dict:
    r = chance_of(seed, number)
    traced = r.random() < 0.3
    count = r.randint(2, 5 if small else 9)
    usable = [each for each in STATEMENTS if not (traced and each[2])]
    names = [each[0].__name__ for each in r.choices(usable, [each[1] for each in usable], k=count)]
    return {"seed": seed, "number": number, "traced": traced, "statements": ["convolution", *names], "kept": list(range(count + 1))}


def sketch_of(plan: dict, kept: list) -> Sketch:
    """The network of a plan with only the statements at the positions that are kept."""
    sketch = Sketch(chance_of(plan["seed"], plan["number"], "input"), plan["traced"])
    functions = {each[0].__name__: each[0] for each in STATEMENTS}
    for position in kept:
        sketch.position, sketch.names = position, 0
        functions[plan["statements"][position]](sketch, chance_of(plan["seed"], plan["number"], position))
    sketch.position, sketch.names = len(plan["statements"]), 0
    end(sketch, chance_of(plan["seed"], plan["number"], "end"))
    return sketch


def end(s: Sketch, r) -> None:
    c, pool = s.c, s.axes
    how = r.random()
    flat = c * s.places
    s.add("features = x")
    if how < 0.35:
        s.add(r.choice([f"x = x.mean({s.dims})", f"x = F.adaptive_avg_pool{pool}d(x, 1).flatten(1)", "x = x.flatten(2).mean(-1)",
                        f"x = torch.flatten(F.adaptive_avg_pool{pool}d(x, 1), 1)", f"x = F.adaptive_avg_pool{pool}d(x, 1).view(x.size(0), -1)"]))
    elif how < 0.45:
        s.add(f"x = x.amax({s.dims})")
    elif how < 0.6 and flat <= 600:
        s.add(r.choice([f"x = x.reshape(x.size(0), {flat})", f"x = x.contiguous().view(-1, {flat})", f"x = x.flatten(1)"]))
        c = flat
    elif how < 0.75 and c % 2 == 0 and s.places <= 64:
        token = s.layer("token", f"nn.Parameter(torch.zeros(1, 1, {c}))")
        encoder = s.layer("encoder", f"nn.TransformerEncoderLayer({c}, 2, {2 * c}, batch_first=True)" if r.random() < 0.5 else f"blocks.Attention({c}, 2, 'operator', False)")
        s.add("x = x.flatten(2).transpose(1, 2)", f"x = torch.cat([{token}.expand(x.size(0), -1, -1), x], 1)", f"x = {encoder}(x)",
              r.choice(["x = x[:, 0]", "x = x.mean(1)"]))
    else:
        s.add(f"x = x.mean({s.dims})")
    if r.random() < 0.4:
        s.add(f"x = {s.layer('hidden', f'nn.Linear({c}, 6)')}(x)", r.choice(["x = F.relu(x)", "x = x.relu_()", "x = F.gelu(x)", "x = torch.tanh(x)"]))
        c = 6
    if r.random() < 0.2:
        s.add(f"x = {s.layer('drop', 'nn.Dropout(0.5)')}(x)")
    s.add(f"x = {s.layer('head', f'nn.Linear({c}, {CLASSES})')}(x)")
    s.output = r.choices((None, "tuple", "fields", "dict", "softmax"), (6, 1, 1, 1, 1))[0]
    s.add({None: "return x", "softmax": "return x.log_softmax(1)", "tuple": "return x, features, x.size(0)" if not s.traced else "return x, features",
           "fields": "return Fields(x, features)" if not s.traced else "return x, features", "dict": 'return {"logits": x, "features": features}'}[s.output])
    s.selector = {None: None, "softmax": None, "tuple": 0, "fields": 0 if s.traced else "logits", "dict": "logits"}[s.output]


def network(source: str, path: Path) -> nn.Module:
    """The network that a source describes; scripting reads the file again."""
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module.Net()


def fill(model: nn.Module, seed: int) -> None:
    """Weights that keep values near 1, in steps of 1/128 so that files of many networks pack well."""
    chance = torch.Generator().manual_seed(seed)

    def uniform(like, low, high):
        return ((torch.rand(like.shape, generator=chance) * (high - low) + low) * 128).round() / 128

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                bound = min(1.0, (4.0 / max(1, parameter[0].numel())) ** 0.5)
                parameter.copy_(uniform(parameter, -bound, bound))
            elif name.endswith("weight") or "scale" in name:
                parameter.copy_(uniform(parameter, 0.5, 1.5))
            else:
                parameter.copy_(uniform(parameter, -0.3, 0.3))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(uniform(buffer, -0.3, 0.3))
            elif name.endswith("running_var"):
                buffer.copy_(uniform(buffer, 0.4, 2.0))


def noise(shape: list, seed: int) -> torch.Tensor:
    """As noise() of test/helpers/fixtures.ts: the same numbers there and here."""
    count = 1
    for size in shape:
        count *= size
    values = []
    for _ in range(count):
        seed = (seed * 1664525 + 1013904223) % 2**32
        values.append(seed / 2**31 - 1)
    return torch.tensor(values, dtype=torch.float64).float().view(shape)


def export(model: nn.Module, image: torch.Tensor, traced: bool, without_gradients: bool) -> torch.jit.ScriptModule:
    if not traced:
        return torch.jit.script(model)
    before = copy.deepcopy(model.state_dict())
    with torch.set_grad_enabled(not without_gradients):
        file = torch.jit.trace(model, image, check_trace=False, strict=False)
    file.load_state_dict(before)  # the run of the trace wrote buffers
    return file


def program(model: nn.Module, image: torch.Tensor) -> torch.export.ExportedProgram:
    """For any number of images, where the network allows that."""
    return torch.export.export(model, (image,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
