"""Measures how far maps are from the float64 result on models of their usual size: ours on the fast and on the plain path,
and pytorch-grad-cam's own in float32. Seven methods, two images, the best class of each; models.py has them.

The float64 result is pytorch-grad-cam's with the model in double precision. Ours in float64 must equal it, and ours in
float32 must be at most four times as far from it as pytorch-grad-cam's float32 result is, plus 1e-5: else it exits with 1.
Each set of vector instructions is measured for itself: what the CPU has, and AVX2 alone. The tables go into docs/parity.md.

Needs the built library (`npm run build`) and `node` on the path. Takes about ten minutes on two cores.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM

from tools.compare.large_models.models import EXAMPLE, MODELS, build, transform_of
from tools.fixtures.family import library
from tools.fixtures.shared.float64_result import allowed_error, doubled
from tools.fixtures.shared.torchscript_file import save_torchscript

ROOT = Path(__file__).resolve().parents[3]
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
METHODS = ["GradCAM", "HiResCAM", "GradCAMPlusPlus", "XGradCAM", "LayerCAM", "EigenCAM", "EigenGradCAM"]
WAYS = {"fast": "ours, fast", "plain": "ours, plain", "float64": "ours, float64"}
LARGEST_FLOAT64_ERROR = 1e-5  # the library resizes with positions in float32, we do not
INSTRUCTIONS = {"native": {}, "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}}

# Run in the repository's root, where the package finds itself by name.
NODE_SCRIPT = """
import { readFileSync, writeFileSync } from 'node:fs';
import * as library from 'node-gradcam';

const { model: path, input, folder, shape, classes, methods, layers, reshape, threads } = JSON.parse(process.argv[1]);
library.setThreads({ intraOpThreads: threads });
const bytes = readFileSync(input);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const x = library.Tensor.from(values, shape);
for (const dtype of ['float32', 'float64']) {
  const model = await library.loadModel(path, { dtype });
  for (const [index, targetLayers] of layers.entries()) {
    for (const method of methods) {
      for (const way of dtype === 'float64' ? ['float64'] : ['fast', 'plain']) {
        const optimize = way === 'fast';
        const reshaping = reshape ? { reshapeTransform: reshape } : {};
        const cam = new library[method]({ model, targetLayers, optimize, ...reshaping });
        const { heatmaps } = await cam.explain(x, { targets: classes });
        writeFileSync(`${folder}/${index}-${method}-${way}.bin`, heatmaps.toTypedArray());
        heatmaps.dispose();
      }
    }
  }
  await model.dispose();
}
"""


def make_input(size: int) -> torch.Tensor:
    """The demo's photo, and noise: [2, 3, size, size]."""
    picture = Image.open(PHOTO).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    photo = (torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1) - 0.45) / 0.225
    return torch.stack([photo, torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))])


def reference_maps(model, layer: str, x: torch.Tensor, classes: list[int], transform) -> dict[str, np.ndarray]:
    """pytorch-grad-cam's maps of all methods, from one forward and backward of it."""
    modules, targets = [model.get_submodule(layer)], library.new_targets([[c] for c in classes])
    with library.mended(), library.precision(x.dtype), GradCAM(model, modules, transform) as cam:
        maps = {"GradCAM": cam(x, targets)}
        for method in METHODS[1:]:
            other = library.method_class(method)(model, modules, transform)
            for kept in ("activations", "gradients"):
                setattr(other.activations_and_grads, kept, list(getattr(cam.activations_and_grads, kept)))
            maps[method] = other.aggregate_multi_layers(other.compute_cam_per_layer(x, targets, False))
    return maps


def measure(name: str, size: int, threads: int) -> list[dict]:
    """Of each layer and method the largest differences from float64."""
    torch.set_num_threads(threads)
    large, x = MODELS[name], make_input(size)
    model = build(name, x)
    with torch.no_grad():
        classes = model(x).argmax(1).tolist()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = EXAMPLE if name == "efficientnet_lite0" else folder / "model.pt"
        if path != EXAMPLE:
            save_torchscript(torch.jit.trace(model, x, check_trace=False) if large.traced else torch.jit.script(model), path)
        x.numpy().astype("<f4").tofile(folder / "input.bin")
        request = {"model": str(path), "input": str(folder / "input.bin"), "folder": temporary, "shape": list(x.shape)}
        request |= {"classes": classes, "methods": METHODS, "layers": large.layers, "reshape": large.reshape}
        command = ["node", "--input-type=module", "--eval", NODE_SCRIPT, "--", json.dumps({**request, "threads": threads})]
        subprocess.run(command, cwd=ROOT, check=True)
        rows = []
        for index, layer in enumerate(large.layers):
            exact = reference_maps(doubled(model), layer, x.double(), classes, transform_of(large, size))
            single = reference_maps(model, layer, x, classes, transform_of(large, size))
            for method in METHODS:
                spread = exact[method].reshape(2, -1).std(1)
                # Of one image it may be zero: nothing speaks for the class.
                assert (spread > 0.01).any(), f"{name}, {layer}, {method}: the maps say nothing, {spread}"
                ours = {way: np.fromfile(folder / f"{index}-{method}-{way}.bin", "<f4") for way in WAYS}
                found = {way: largest_difference(values, exact[method]) for way, values in ours.items()}
                found["reference"] = largest_difference(single[method], exact[method])
                rows.append({"model": name, "layer": layer, "method": method, **found})
    return rows


def largest_difference(maps: np.ndarray, exact: np.ndarray) -> float:
    difference = float(np.abs(maps.reshape(exact.shape) - exact).max())
    return difference if difference == difference else float("inf")


def fails(row: dict) -> bool:
    bound = allowed_error(row["reference"])
    return max(row["fast"], row["plain"]) > bound or row["float64"] > LARGEST_FLOAT64_ERROR


def measure_in(instructions: str, names: list[str], arguments) -> list[dict]:
    """In processes of their own, because PyTorch reads the instruction set once."""
    rows = []
    for name in names:
        command = [sys.executable, "-m", "tools.compare.large_models", "--measure", name, "--size", str(arguments.size)]
        command += ["--threads", str(arguments.threads)]
        environment = {**os.environ, **INSTRUCTIONS[instructions]}
        printed = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(printed.splitlines()[-1])  # packages print before it
        for row in found:
            verdict = "  FAILS" if fails(row) else ""
            figures = "  ".join(f"{key} {row[key]:.1e}" for key in (*WAYS, "reference"))
            print(f"{instructions:7s} {name:20s} {row['layer']:36s} {row['method']:16s} {figures}{verdict}", flush=True)
        rows += found
    return rows


def cpu_name() -> str:
    try:
        return re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def worst_table(measured: dict[str, list[dict]]) -> str:
    """Of each layer the worst of all methods."""
    columns = [(instructions, key) for instructions in measured for key in ("fast", "plain", "reference")]
    titles = {**WAYS, "reference": "pytorch-grad-cam"}
    layers = list(dict.fromkeys((row["model"], row["layer"]) for rows in measured.values() for row in rows))
    body = []
    for model, layer in layers:
        cells = [model, f"`{layer}`"]
        for instructions, key in columns:
            of_layer = [row[key] for row in measured[instructions] if (row["model"], row["layer"]) == (model, layer)]
            cells.append(f"{max(of_layer):.1e}")
        body.append(cells)
    return table(["model", "layer", *(f"{titles[key]} ({instructions})" for instructions, key in columns)], body)


def method_table(rows: list[dict]) -> str:
    layers = list(dict.fromkeys((row["model"], row["layer"]) for row in rows))
    body = []
    for model, layer in layers:
        cells = [f"{model} `{layer}`"]
        for method in METHODS:
            (row,) = [r for r in rows if (r["model"], r["layer"], r["method"]) == (model, layer, method)]
            cells.append(f"{row['fast']:.0e} / {row['plain']:.0e} / {row['reference']:.0e}")
        body.append(cells)
    return table(["", *METHODS], body)


def write_section(page: Path, name: str, text: str) -> None:
    """Between the comments that ../parity_table.mjs uses too."""
    begin, end = f"<!-- begin: {name} -->\n", f"\n<!-- end: {name} -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{before}{begin}{text}{end}{rest.split(end)[1]}", encoding="utf-8")


def page(measured: dict[str, list[dict]], size: int, threads: int) -> str:
    every = [row for rows in measured.values() for row in rows]
    names = {"native": torch.backends.cpu.get_cpu_capability(), "AVX2": "AVX2"}
    shown = {names[instructions]: rows for instructions, rows in measured.items()}
    share = max(max(row["fast"], row["plain"]) / allowed_error(row["reference"]) for row in every)
    nearer = {way: sum(row[way] < row["reference"] for row in every) for way in ("fast", "plain")}
    parts = [
        f"""Written by `tools/compare/large_models`. The largest difference from the float64 result, of maps from 0 to 1: two images of
{size} x {size} pixels, {len(METHODS)} methods, {threads} thread{"s" if threads > 1 else ""}, torchvision's architectures with random weights and the demo's
EfficientNet-Lite0 with its own. On {cpu_name()}, LibTorch {torch.__version__.split("+")[0]}, with the instructions in brackets.

Worst of all methods:

{worst_table(shown)}

Of {len(every)} comparisons (layer, method, instructions) our fast path is nearer to float64 than pytorch-grad-cam in {nearer["fast"]}, our plain
one in {nearer["plain"]}. The worst needs {share:.0%} of what is allowed. In float64 ours differ from pytorch-grad-cam's by at most {max(row["float64"] for row in every):.1e}."""
    ]
    for instructions, rows in shown.items():
        parts.append(f"Each method, {instructions}: ours fast / ours plain / pytorch-grad-cam\n\n{method_table(rows)}")
    return "\n\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(MODELS)}; the page is only written for all of them")
    parser.add_argument("--size", type=int, default=160, help="width and height, a multiple of 32 (default: 160)")
    parser.add_argument("--threads", type=int, default=1, help="threads of either side (default: 1)")
    parser.add_argument("--measure", metavar="MODEL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.size, arguments.threads)))
        return 0
    unknown = [name for name in arguments.models if name not in MODELS]
    if unknown or arguments.size % 32:
        parser.error(f"there is no {', '.join(unknown)}" if unknown else "--size must be a multiple of 32")
    names = arguments.models or list(MODELS)
    measured = {instructions: measure_in(instructions, names, arguments) for instructions in INSTRUCTIONS}
    if not arguments.models:
        write_section(ROOT / "docs" / "parity.md", "large models", page(measured, arguments.size, arguments.threads))
    failed = sum(fails(row) for rows in measured.values() for row in rows)
    print(f"{failed} of {sum(map(len, measured.values()))} beyond what is allowed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
