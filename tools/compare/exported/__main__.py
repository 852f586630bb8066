"""Compares exported programs (.pt2) of full-size models with pytorch-grad-cam on the eager models, and with the same models as
TorchScript (models.py has them).

Of each: the maps of two methods, two images; that the layers which ran are those of the eager model; how long the file takes
to load and to explain, beside its TorchScript form, turn by turn in one process; and whether the TorchScript that is converted of
it gives the same in Python. Exits with 1 if a map is further from pytorch-grad-cam's in double precision than four times its
own in float32, plus 1e-5, if layers or outputs differ, or if the exported program is slower than is allowed.

Needs the built library (`npm run build`) and `node` on the path. Takes about half an hour on two cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export_formats import to_program, to_torchscript
from tools.compare.exported.models import NAMES, SIZE, Compared, build
from tools.compare.large_models.__main__ import make_input
from tools.fixtures.family import library
from tools.fixtures.shared.float64_result import doubled, in_float32, within_bounds

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("compare.mjs")
METHODS = ("GradCAM", "LayerCAM")
# Of the shortest times: loading says little of small models, where the rest of the process counts.
LARGEST_DIFFERENCE = 1e-6  # of the largest output
LARGEST_RATIO = {"load": 1.5, "explain": 1.05}


def called_layers(model: nn.Module, x: torch.Tensor) -> tuple[set, set]:
    """The paths of the layers that run, and of those among them that hand on what they get: a program has nothing of them."""
    called, idle, handles = set(), {}, []
    for path, module in model.named_modules():

        def keep(_module, given, answer, path=path):
            called.add(path)
            idle[path] = idle.get(path, True) and any(answer is each for each in given)

        if path:
            handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return called, {path for path, always in idle.items() if always}


def layers_agree(found: list, model: nn.Module, x: torch.Tensor) -> bool:
    called, idle = called_layers(model, x)
    missing, foreign = called - set(found) - idle, set(found) - called
    without = f", {len(called - set(found))} without operations" if called - set(found) else ""
    print(f"  layers         {len(set(found) & called)} of {len(called)}{without}")
    for what, paths in (("missing", missing), ("foreign", foreign)):
        if paths:
            print(f"  FAILS: {len(paths)} {what}: {', '.join(sorted(paths)[:5])}")
    return not missing and not foreign


def times_agree(times: dict) -> bool:
    agree = True
    for what, of_formats in times.items():
        shortest = {name: min(values) for name, values in of_formats.items()}
        ratio = shortest["pt2"] / shortest["torchscript"]
        fails = ratio > LARGEST_RATIO[what]
        agree = agree and not fails
        figures = f"{shortest['pt2']:.0f} ms, TorchScript {shortest['torchscript']:.0f} ms, ratio {ratio:.2f}"
        print(f"  {what:14s} {figures}{f'  FAILS: {LARGEST_RATIO[what]} is allowed' if fails else ''}", flush=True)
    return agree


def converted_agrees(path: Path, compared: Compared, x: torch.Tensor, answer: torch.Tensor) -> bool:
    with torch.no_grad():
        given = torch.jit.load(path)(x)
    given = given if compared.output is None else given[compared.output]
    difference = float((given - answer).abs().max() / answer.abs().max())
    fails = not difference <= LARGEST_DIFFERENCE
    print(f"  converted      {difference:.1e} of the largest output{'  FAILS' if fails else ''}")
    return not fails


def run_node(compared: Compared, x: torch.Tensor, answer: torch.Tensor, targets: list, folder: Path, arguments) -> dict:
    files = {"torchscript": folder / "model.pt", "pt2": folder / "model.pt2"}
    to_torchscript(compared.model, x, False).save(files["torchscript"])
    exported = to_program(compared.model, torch.cat([x, x[:1]]), 1, False)
    assert not exported.notes, exported.notes
    exported.save(files["pt2"])
    x.numpy().astype("<f4").tofile(folder / "input.bin")
    mask = None
    if answer.dim() == 4:
        mask = list(answer.shape[2:])
        left = np.zeros(mask, "<f4")
        left[:, : mask[1] // 2] = 1
        left.tofile(folder / "mask.bin")
    request = {
        "files": {name: str(path) for name, path in files.items()},
        "folder": str(folder),
        "shape": list(x.shape),
        "mask": mask,
        "targets": targets,
        "methods": METHODS,
        "layer": compared.layer,
        "output": compared.output,
        "reshape": compared.reshape,
        "threads": arguments.threads,
        "turns": arguments.turns,
    }
    command = ["node", str(SCRIPT), json.dumps(request)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)


def compare(name: str, arguments) -> bool:
    x = make_input(SIZE)
    compared = build(name, x)
    model = compared.model if compared.output is None else library.Select(compared.model, compared.output)
    with torch.no_grad():
        answer = model(x)
    targets, ours = compared.targets(answer)
    with tempfile.TemporaryDirectory() as folder:
        found = run_node(compared, x, answer, ours, Path(folder), arguments)
        maps = {method: np.fromfile(Path(folder) / f"{method}.bin", "<f4") for method in METHODS}
        agree = converted_agrees(Path(folder) / "converted.pt", compared, x, answer)
    agree = layers_agree(found["layers"], compared.model, x) and agree
    agree = times_agree(found["times"]) and agree
    layer = compared.layer if compared.output is None else f"model.{compared.layer}"
    for method in METHODS:

        def run(module, image, method=method):
            return library.run(method, module, [layer], image, targets, compared.transform)

        exact, single = run(doubled(model), x.double()), in_float32(run, model, x)
        # Of one image it may be zero: nothing speaks for the class.
        assert (exact.reshape(len(x), -1).std(1) > 0.01).any(), f"{name} {method}: the maps say nothing"
        agree = within_bounds(method, maps[method], exact, single) and agree
    return agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"default: {', '.join(NAMES)}")
    parser.add_argument("--threads", type=int, default=2, help="threads of either side (default: 2)")
    parser.add_argument("--turns", type=int, default=7, help="loads and explains that are timed (default: 7)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.models if name not in NAMES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}")
    torch.set_num_threads(arguments.threads)
    failed = []
    for name in arguments.models or NAMES:
        print(name, flush=True)
        try:
            agree = compare(name, arguments)
        except (subprocess.CalledProcessError, AssertionError, RuntimeError) as error:
            print(f"  FAILS: {type(error).__name__}: {str(error)[-300:]}", flush=True)
            agree = False
        if not agree:
            failed.append(name)
    print(f"{len(failed)} of {len(arguments.models or NAMES)} models beyond what is allowed{': ' if failed else ''}{', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
