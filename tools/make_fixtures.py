"""Writes test/fixtures: tiny TorchScript models, and the heatmaps that pytorch-grad-cam itself gives for them.

Every expected map comes from the real library on the eager model (case `signal`, which it cannot run, from the formulas
by hand) in double precision; `referenceError` is how far its own float32 result is from that (float64_result.py). The script
refuses to write a map that would test nothing: one that is constant or, where not meant, zero.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

import family_library as library
import family_reference as reference
import fixture_models as models
from float64_result import doubled, errors_of
from torchscript_file import save_torchscript

FIXTURES = Path(__file__).resolve().parent.parent / "test" / "fixtures"


def seeded(make, seed: int) -> nn.Module:
    """A model in eval mode with fixed weights and BatchNorm statistics that are not trivial."""
    torch.manual_seed(seed)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.Linear):
            module.weight.data.mul_(3)
    return model.eval()


def twin(model: nn.Module) -> nn.Module:
    """The form of the model that pytorch-grad-cam can explain rightly, with the same weights."""
    if not hasattr(model, "eager"):
        return model
    other = model.eager()
    other.load_state_dict(model.state_dict())
    return other.eval().to(next(model.parameters()).dtype)


def layer_of(model: nn.Module, path: str) -> nn.Module:
    return model.get_submodule(path)


def reference_maps(model, layers, x, targets, upsample=True):
    """pytorch-grad-cam's maps for one target per image, and the model's output."""
    with library.precision(x.dtype), GradCAM(model=model, target_layers=layers) as cam:
        maps = cam(input_tensor=x, targets=targets)
        if not upsample:
            # The library's own steps, without the last one, resizing.
            activation = cam.activations_and_grads.activations[0].numpy()
            gradient = cam.activations_and_grads.gradients[0].numpy()
            raw = cam.get_cam_image(x, layers[0], targets, activation, gradient, False)
            maps = scale_cam_image(scale_cam_image(np.maximum(raw, 0)))
        return maps, cam.outputs.detach().numpy()


class Writer:
    def __init__(self):
        self.cases = []

    def array(self, name: str, values: np.ndarray) -> dict:
        dtype = "float64" if values.dtype == np.float64 else "float32"
        file = f"{name}.bin"
        values.astype("<f8" if dtype == "float64" else "<f4").tofile(FIXTURES / file)
        return {"file": file, "shape": list(values.shape), "dtype": dtype}

    def model(self, model: nn.Module, name: str, form: str, x: torch.Tensor) -> str:
        file = f"{name}.pt"
        if form == "scripted":
            exported = torch.jit.script(model)
        else:
            exported = torch.jit.trace(model, x[:1], strict=False)
        save_torchscript(exported, FIXTURES / file)
        return file

    def case(self, name, description, make, layers, *, seed=1, form="scripted", shape=(1, 3, 24, 32), targets=None,
             probes=None, call=None, output=None, dtype=torch.float32, upsample=True, zero=False, model_name=None):
        """One golden case. `targets` has a list of classes for each image; None leaves the choice to argmax."""
        model = seeded(make, seed).to(dtype)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed + 100), dtype=torch.float64).to(dtype)
        file = self.model(model, model_name or name, form, x)
        eager = twin(model)

        def explained(module, image):
            """Expected values, all in the type of the model and image."""
            layers_of = [layer_of(module, path) for path in (probes or layers)]
            chosen = module if output is None else models.Select(module, output)
            maps = {}
            for index in range(max(len(t) for t in targets) if targets else 1):
                aims = targets and [ClassifierOutputTarget(t[min(index, len(t) - 1)]) for t in targets]
                found, outputs = reference_maps(chosen, layers_of, image, aims, upsample)
                for row in range(shape[0]):
                    if targets is None or index < len(targets[row]):
                        maps[row, index] = found[row]
            classes = targets or [[int(row.argmax())] for row in outputs]
            scores = [float(outputs[row, c]) for row, of_image in enumerate(classes) for c in of_image]
            return {"heatmaps": np.stack([maps[key] for key in sorted(maps)]), "outputs": outputs, "scores": scores}

        values = explained(doubled(eager), x.double())
        errors = errors_of(values, explained(eager.float(), x.float()), name)
        expected, outputs = values["heatmaps"], values["outputs"]

        spread = expected.reshape(len(expected), -1)
        if zero:
            assert spread.max() == 0, name
        else:
            assert (spread.max(1) > 0.99).all() and (spread.std(1) > 0.02).all(), (name, spread.std(1))
        top = np.sort(outputs, axis=1)
        assert (top[:, -1] - top[:, -2] > 1e-3).all(), (name, "argmax is a tie")
        with torch.no_grad():
            exported = torch.jit.load(str(FIXTURES / file))(x)
        exported = models.select(exported, output)
        assert np.abs(exported.numpy() - outputs).max() < 1e-5, (name, "the exported model computes something else")

        case = {
            "name": name, "description": description, "form": form, "model": file,
            "input": self.array(f"{name}.input", x.numpy()),
            "targetLayers": layers, "targets": targets,
            "expected": {
                "heatmaps": self.array(f"{name}.heatmaps", expected.astype(np.float32)),
                "outputs": self.array(f"{name}.outputs", outputs.astype(x.numpy().dtype)),
                "scores": values["scores"],
            },
            "referenceError": errors,
        }
        for key, value in {"call": call, "output": output}.items():
            if value is not None:
                case[key] = value
        if not upsample:
            case["upsample"] = False
        self.cases.append(case)
        print(f"{name:28s} {str(list(expected.shape)):18s} std {expected.std():.3f}  {errors}")

    def signal(self):
        """Grad-CAM on a 1-D signal, by hand: pytorch-grad-cam knows none."""
        model = seeded(models.Signal, 20)
        x = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(120))
        file = self.model(model, "signal", "scripted", x)
        classes = [[1], [2]]
        aims = library.new_targets(classes)

        def explained(module, image):
            with torch.no_grad():
                outputs = module(image).numpy()
            return {
                "heatmaps": reference.explain("GradCAM", module, ["conv2"], image, aims).numpy(),
                "outputs": outputs,
                "scores": [float(outputs[row, c]) for row, (c,) in enumerate(classes)],
            }

        values = explained(doubled(model), x.double())
        assert (values["heatmaps"].max(1) > 0.99).all()
        self.cases.append({
            "name": "signal", "description": "a 1-D signal, derived by hand", "form": "scripted", "model": file,
            "input": self.array("signal.input", x.numpy()), "targetLayers": ["conv2"],
            "targets": classes,
            "expected": {
                "heatmaps": self.array("signal.heatmaps", values["heatmaps"].astype(np.float32)),
                "outputs": self.array("signal.outputs", values["outputs"].astype(np.float32)),
                "scores": values["scores"],
            },
            "referenceError": errors_of(values, explained(model, x), "signal"),
        })


def write_cases(w: Writer) -> None:
    small = models.SmallResNet
    w.case("scripted", "scripted, the last block", small, ["layer2.1"])
    w.case("traced", "traced, the last block", small, ["layer2.1"], form="traced")
    w.case("sibling-first", "the first of two scripted blocks of one class", small, ["layer1.0"], model_name="scripted")
    w.case("sibling-second", "the second of them", small, ["layer1.1"], model_name="scripted")
    w.case("sibling-inner", "a layer inside the first of them", small, ["layer1.0.bn"], model_name="scripted")
    w.case("container", "a Sequential as the target, traced", small, ["layer1"], form="traced", model_name="traced")
    w.case("in-place-relu", "an in-place ReLU behind the target", models.InPlaceRelu, ["bn"], seed=2)
    w.case("in-place-relu-traced", "the same, traced", models.InPlaceRelu, ["bn"], seed=2, form="traced")
    w.case("functional-relu", "F.relu(inplace=True) behind the target", models.FunctionalInPlaceRelu, ["conv"], seed=3)
    w.case("functional-relu-traced", "the same, traced", models.FunctionalInPlaceRelu, ["conv"], seed=3, form="traced")
    w.case("add-in-place", "+= on the target's output", models.AddInPlace, ["conv"], seed=4, targets=[[2]])
    w.case("add-in-place-traced", "the same, traced", models.AddInPlace, ["conv"], seed=4, targets=[[2]], form="traced")
    w.case("skip-connection", "a skip connection over a later layer", models.AddInPlace, ["stem"], seed=4, targets=[[1]],
           model_name="add-in-place")
    for form in ("scripted", "traced"):
        suffix = "" if form == "scripted" else "-traced"
        for call in (0, 1):
            w.case(f"call-{call}{suffix}", f"call {call} of a layer called twice, {form}", models.CalledTwice, ["shared"],
                   seed=5, form=form, call=call, probes=[f"call{call}"], model_name=f"called-twice{suffix}")
        w.case(f"call-default{suffix}", f"the last call by default, {form}", models.CalledTwice, ["shared"], seed=5,
               form=form, probes=["call1"], model_name=f"called-twice{suffix}")
    w.case("call-all", "both calls, averaged", models.CalledTwice, ["shared"], seed=5, call="all",
           probes=["call0", "call1"], model_name="called-twice")
    w.case("branch", "a layer inside an if", models.ControlFlow, ["positive"], seed=6, model_name="control_flow")
    w.case("loop", "a layer inside a loop, its last call", models.ControlFlow, ["looped"], seed=6, probes=["call2"],
           model_name="control_flow")
    w.case("loop-call-1", "a layer inside a loop, its second call", models.ControlFlow, ["looped"], seed=6, call=1,
           probes=["call1"], model_name="control_flow")
    w.case("module-list", "a layer of a ModuleList, an argument left out", models.ListOfLayers, ["convs.1"], seed=7)
    w.case("batch-3", "three images, a class each", small, ["layer2.1"], shape=(3, 3, 24, 32), targets=[[0], [3], [1]],
           model_name="scripted")
    w.case("batch-3-argmax", "three images, targets omitted", small, ["layer2.1"], shape=(3, 3, 24, 32), seed=1,
           model_name="scripted")
    w.case("several-classes", "several classes per image from one forward", small, ["layer2.1"], shape=(2, 3, 24, 32),
           targets=[[0, 2], [1, 3, 4]], model_name="scripted")
    w.case("tall", "much taller than wide", small, ["layer2.0"], shape=(1, 3, 48, 18), targets=[[3]],
           model_name="scripted")
    w.case("odd-size", "odd sizes, much wider than tall", small, ["layer2.0"], shape=(1, 3, 23, 61), targets=[[3]],
           model_name="scripted")
    w.case("layer-size", "the map at the layer's own size", small, ["layer2.1"], targets=[[3]], upsample=False,
           model_name="scripted")
    w.case("two-layers", "two target layers of different size", small, ["layer1.1", "layer2.1"], targets=[[3]],
           model_name="scripted")
    w.case("dict-output", "a dict's entry", models.DictOutput, ["features.layer2.1"], seed=8, output="out")
    w.case("dict-output-aux", "its other entry", models.DictOutput, ["features.layer2.1"], seed=8, output="aux",
           model_name="dict-output")
    w.case("dict-output-traced", "a dict's entry, traced", models.DictOutput, ["features.layer2.1"], seed=8, output="out",
           form="traced")
    w.case("tuple-output", "a tuple's second part", models.TupleOutput, ["features.layer2.1"], seed=8, output=1)
    w.case("list-output", "a list's first part", models.ListOutput, ["features.layer2.0"], seed=8, output=0)
    w.case("nested-output", "a dict inside a tuple", models.NestedOutput, ["features.layer2.1"], seed=8, output=[1, "aux"])
    w.case("one-channel", "gray input", lambda: small(1), ["layer2.1"], seed=9, shape=(2, 1, 24, 32))
    w.case("float64", "double precision", small, ["layer2.1"], dtype=torch.float64, shape=(2, 3, 24, 32))
    w.case("volume", "a 3-D CNN, a layer of the input's size", models.Volume, ["conv1"], seed=10, shape=(2, 1, 6, 8, 10))
    w.case("volume-small", "a 3-D CNN, a smaller layer, not resized", models.Volume, ["conv2"], seed=10,
           shape=(2, 1, 6, 8, 10), upsample=False, model_name="volume")
    w.case("no-evidence", "nothing speaks for the class: the map is zero", models.NothingSpeaksForIt, ["relu"], seed=11,
           targets=[[0]], zero=True)
    w.signal()


def write_broken_files() -> None:
    bad = FIXTURES / "bad"
    bad.mkdir(exist_ok=True)
    whole = (FIXTURES / "scripted.pt").read_bytes()
    (bad / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    (bad / "empty.pt").write_bytes(b"")
    (bad / "text.pt").write_text("This is not a model.\n")
    state = seeded(models.SmallResNet, 1).state_dict()
    torch.save(state, bad / "not_torchscript.pt")
    if not (bad / "legacy_pickle.pt").exists():  # it has addresses in memory
        torch.save(state, bad / "legacy_pickle.pt", _use_new_zipfile_serialization=False)
    frozen = torch.jit.freeze(torch.jit.script(seeded(models.SmallResNet, 1)))
    save_torchscript(frozen, FIXTURES / "frozen.pt")
    save_torchscript(torch.jit.script(seeded(models.Disconnected, 12)), FIXTURES / "disconnected.pt")
    save_torchscript(torch.jit.script(seeded(models.NoForward, 13)), FIXTURES / "no_forward.pt")
    save_torchscript(torch.jit.script(seeded(models.IntOutput, 14)), FIXTURES / "int_output.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    writer = Writer()
    write_cases(writer)
    write_broken_files()
    (FIXTURES / "golden.json").write_text(json.dumps({"cases": writer.cases}, indent=1) + "\n")
    total = sum(path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file())
    print(f"{len(writer.cases)} cases, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
