"""The fuzzer's other half: answers each line of JSON, a case to make, with a line that has what is right for it.

    python -m tools.checks.fuzz_models.generate FOLDER

Run by npm run fuzz:models. A request is { seed, number, kept?, small?, exported? }; the network is written to FOLDER.
"""

import base64
import copy
import json
import sys
import warnings
from pathlib import Path

import torch

from network import chance_of, export, fill, network, noise, plan_of, program, sketch_of
from truth import GRADIENT_METHODS, REFUSALS, Layer, NoTruth, explain, forward, plainly, selected
from tools.fixtures.shared.exported_file import save_exported
from tools.fixtures.shared.torchscript_file import save_torchscript

# Beyond this, rounding decides what the map is, so it tests nothing.
LARGEST_ERROR = 5e-5
IDLE = (torch.nn.Identity, torch.nn.Dropout, torch.nn.Dropout2d, torch.nn.Dropout3d, torch.nn.AlphaDropout)
CLOSED = (torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer)


def calls_of(model, image):
    """What each module gives in a forward: path -> list of outputs."""
    model = copy.deepcopy(model).double()
    given = {path: [] for path, _ in model.named_modules() if path}
    for path, module in model.named_modules():
        if path:
            module.register_forward_hook(lambda module, inputs, output, path=path: given[path].append(output))
    with torch.no_grad(), plainly():
        output = model(image.double())
    return given, output


def check_closed_attention(model, image, output, selector):
    """Attention as one operator lays out what it gives in its own way, which views and writes behind it see."""
    try:
        with torch.no_grad():
            closed = selected(copy.deepcopy(model).double()(image.double()), selector)
    except RuntimeError as problem:
        raise NoTruth("runs with gradients only") from problem
    if difference(closed, output) > 1e-9:
        raise NoTruth("gives something else without gradients")


def in_closed(model, path):
    modules = dict(model.named_modules())
    parts = path.split(".")
    return any(isinstance(modules[".".join(parts[:length])], CLOSED) for length in range(1, len(parts)))


def gives_map(output, image):
    return isinstance(output, torch.Tensor) and output.is_floating_point() and output.dim() == image.dim() and len(output) == len(image)


def choose(r, model, image, given):
    """A layer, which of its calls, and the code of what must be refused."""
    # A trace leaves them out; else what they give is what they were given.
    modules = dict(model.named_modules())
    idle = lambda path: isinstance(modules[path], IDLE)
    usable = [path for path in given if not in_closed(model, path) and not idle(path)]
    good = [path for path in usable if given[path] and gives_map(given[path][-1], image)]
    bad = [path for path in usable if path not in good and not isinstance(modules[path], CLOSED) and (not given[path] or isinstance(given[path][-1], torch.Tensor))]
    if bad and (not good or r.random() < 0.05):
        path = r.choice(bad)
        return path, None, "ERR_LAYER_OUTPUT" if given[path] else "ERR_LAYER_NOT_CALLED"
    if not good:
        raise NoTruth("no layer gives a map")
    path = r.choice(good)
    calls = len(given[path])
    call = r.randrange(calls) if calls > 1 and r.random() < 0.5 and gives_map(given[path][0], image) else None
    return path, call, None


def packed(tensor):
    return base64.b64encode(tensor.detach().to(torch.float32).contiguous().numpy().tobytes()).decode()


def difference(a, b):
    return float((a - b).abs().max()) if a.numel() else 0.0


def judged(results, exact):
    """The exact values, with how far the same network's results are in float32, and with weights and sums a rounding away."""
    methods = {}
    # What a norm behind the layer takes out of the gradient leaves only rounding.
    largest = float(exact["gradients"].abs().max())
    noisy = any(difference(other["gradients"], exact["gradients"]) > 1e-4 * largest for other in results if other["dtype"] == torch.float32)
    for name, own in exact["methods"].items():
        tells = own["tells"].tolist()
        others = [other["methods"][name]["maps"] for other in results if name in other["methods"]]
        errors = [max(difference(other[i], own["maps"][i]) for other in others) for i in range(len(tells))]
        cancels = name in GRADIENT_METHODS and noisy
        clear = [told and error <= LARGEST_ERROR and not cancels for told, error in zip(tells, errors)]
        methods[name] = {"maps": packed(own["maps"]), "shape": list(own["maps"].shape), "clear": clear,
                         "error": float(f"{max([e for e, c in zip(errors, clear) if c], default=0.0):.2e}")}
        if not all(torch.isfinite(other).all() for other in others):
            methods[name]["overflows"] = True
    return {
        "outputs": exact["outputs"].flatten().tolist(),
        "scores": exact["scores"].tolist(),
        "error": float(f"{max(difference(other['outputs'], exact['outputs']) for other in results):.2e}"),
        "methods": methods,
        "saliency": saliency_of(results, exact),
    }


def needs_differences(model, image, layer, call, selector):
    """Whether autograd refuses the network for what it writes in place."""
    try:
        kept = Layer(model, layer, call, torch.float64)
        selected(forward(kept, image.double()), selector).sum().backward()
    except RuntimeError as problem:
        return any(words in str(problem) for words in REFUSALS)
    return False


def character(model, image, layer, call, selector, source):
    """Whether the layer gives memory of its own, whether autograd refuses the network, and whether that can be told."""
    probe = Layer(model, layer, call, torch.float64)
    with torch.no_grad():
        forward(probe, image.double())
    by_differences = needs_differences(model, image, layer, call, selector)
    # Of a view of a layer's own input autograd loses sight where something writes, and differences see through detach().
    told = not (by_differences and (probe.aliases or any(word in source for word in ("detach", "no_grad", ".data"))))
    return not probe.aliases, by_differences, told and not probe.is_view


def saliency_of(results, exact):
    values = exact["saliency"]
    if values is None or any(other["saliency"] is None for other in results):
        return None
    return {"values": packed(values), "error": float(f"{max(difference(other['saliency'], values) for other in results):.2e}")}


def save_program(model, image, file):
    try:
        save_exported(program(copy.deepcopy(model), image.clone()), file)
    except Exception as problem:  # of many kinds: what torch.export does not take is not ours to tell
        raise NoTruth("does not export") from problem


def case(request, folder):
    seed, number = request["seed"], request["number"]
    plan = plan_of(seed, number, request.get("small", False))
    kept = request.get("kept", plan["kept"])
    sketch = sketch_of(plan, kept)
    name = f"case_{seed}_{number}"
    answer = {"seed": seed, "number": number, "statements": [plan["statements"][i] for i in kept], "kept": kept, "source": sketch.source()}
    r = chance_of(seed, number, "question")
    image = noise([sketch.batch, sketch.channels, *sketch.size], 1 + number)
    torch.manual_seed(0)
    try:
        model = network(sketch.source(), folder / f"{name}.py").eval()
        fill(model, seed * 1000003 + number)
        given, output = calls_of(model, image)
        output = selected(output, sketch.selector)
        check_closed_attention(model, image, output, sketch.selector)
        if not torch.isfinite(output).all():
            raise NoTruth("not finite")
        layer, call, refusal = choose(r, model, image, given)
        last = len(given[layer]) - 1 if call is None else call
        targets = [[r.randrange(output.size(1)) for _ in range(sketch.batch)] for _ in range(r.choice((1, 1, 2)))]
        methods = ["GradCAM", *r.sample([name for name in GRADIENT_METHODS if name != "GradCAM"], 1)]
        methods += r.sample(["EigenCAM", "AblationCAM", "AblationCAM", "ScoreCAM"], 1)
        if sketch.mixes:
            methods = [method for method in methods if method not in ("AblationCAM", "ScoreCAM")]
        answer |= {"shape": list(image.shape), "inputSeed": 1 + number, "layer": layer, "call": call, "selector": sketch.selector, "targets": targets,
                   "traced": plan["traced"], "small": request.get("small", False)}
        fresh, by_differences = True, False
        if refusal is None:
            def run(dtype, disturb=0.0, some=None):
                return explain(model, image, layer, last, sketch.selector, targets, some or methods, dtype, disturb)

            for _ in range(5):
                fresh, by_differences, told = character(model, image, layer, last, sketch.selector, sketch.source())
                if told:
                    break
                layer, call, refusal = choose(r, model, image, given)
                if refusal is not None:
                    raise NoTruth("no layer gives a map of its own")
                last = len(given[layer]) - 1 if call is None else call
            if not told:
                raise NoTruth("written in a way that neither autograd nor differences tell")
            answer |= {"layer": layer, "call": call}
            if by_differences:
                methods = [method for method in methods if method == "GradCAM" or method not in GRADIENT_METHODS]
            if not fresh:
                methods = [method for method in methods if method not in ("AblationCAM", "ScoreCAM")]
            try:
                exact = run(torch.float64)
                if not all(torch.isfinite(each["maps"]).all() for each in exact["methods"].values()):
                    raise NoTruth("not finite")
                others = [run(torch.float64, 0.1), run(torch.float64, 0.2)]
                # Differences of float32 numbers tell nothing of a gradient.
                some = [method for method in methods if method != "GradCAM"] if by_differences else methods
                if some:
                    others.append(run(torch.float32, some=some))
                if request.get("again"):  # is it at a tie, where rounding decides?
                    others += [run(torch.float64, 0.3 + 0.01 * more) for more in range(12)]
                    others += [run(torch.float32, 0.6 + 0.01 * more, some) for more in range(4) if some]
                answer |= judged(others, exact)
                if by_differences:
                    for own in answer["methods"].values():
                        own["error"] = max(own["error"], 1e-5)
            except NoTruth as problem:
                if str(problem) != "disconnected" or not fresh:
                    raise
                refusal = "ERR_LAYER_DISCONNECTED"
        answer["refusal"] = refusal
        answer["aliases"] = not fresh
        if request.get("exported"):
            answer["file"] = f"{name}.pt2"
            save_program(model, image, folder / answer["file"])
        else:
            answer["file"] = f"{name}.pt"
            file = export(copy.deepcopy(model), image.clone(), plan["traced"], r.random() < 0.5 or by_differences)
            save_torchscript(file, folder / answer["file"])
    except NoTruth as problem:
        answer["none"] = str(problem)
    except Exception as problem:
        answer["none"] = f"{type(problem).__name__}: {problem}"
    return answer


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(case(json.loads(line), folder), separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main()
