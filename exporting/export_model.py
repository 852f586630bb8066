#!/usr/bin/env python3
"""Exports an image model to TorchScript (.pt) or as an exported program (.pt2), together with the sidecar that node-gradcam
reads: model.pt or model.pt2, and model.json.

    python export_model.py torchvision:resnet50 --weights DEFAULT
    python export_model.py torchvision:resnet50 --weights DEFAULT -o resnet50.pt2
    python export_model.py timm:vit_base_patch16_224 --pretrained --visible-attention -o vit.pt
    python export_model.py hf:google/vit-base-patch16-224
    python export_model.py hf:./my-finetuned-vit
    python export_model.py timm:resnet18 --option num_classes=7 --checkpoint best.pth --labels labels.txt
    python export_model.py python:my_package.models:make_model --size 320

The sidecar gets the preprocessing of the source (torchvision's weights, timm's data config, Hugging Face's image
processor), its labels, the default target layer and, for transformers, how that layer's tokens become a map. The file is
loaded again and run against the original model, for one image and for more, and the largest differences are printed.

A .pt2 takes any number of images where the model allows it, else --batch-size of them; --dynamic-size lets it take any height
and width too.

It needs torch, the package that the model comes from, and the files beside it, export_formats.py, export_layers.py and
export_sources.py: copy the four where your model lives.
"""

import argparse
import copy
import json
import math
import re
import sys
from pathlib import Path

import torch
from export_formats import SUFFIXES, Exported, layers_of, load_file, to_program, to_torchscript
from export_layers import form_of, record_calls, suggest_layer
from export_sources import ExportError, Source, load
from torch import nn

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# A larger difference than this share of the largest output is no rounding.
TOLERANCE = 1e-3


def tensors_of(output) -> list:
    if isinstance(output, torch.Tensor):
        return [output]
    if not isinstance(output, (dict, list, tuple)):
        return []
    values = output.values() if isinstance(output, dict) else output
    return [tensor for value in values for tensor in tensors_of(value)]


def outputs_of(model: nn.Module, x: torch.Tensor) -> list:
    with torch.no_grad():
        return tensors_of(model(x))


def largest_difference(ours: list, theirs: list) -> float:
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        return math.inf
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def output_selector(output) -> str | int | None:
    """Which part is explained where a model gives several: 'out' of torchvision's segmentation, else the first."""
    if isinstance(output, torch.Tensor):
        return None
    if isinstance(output, dict):
        return "out" if "out" in output else next(iter(output))
    return 0


def sidecar_of(args, source: Source, shape: list, x: torch.Tensor, known: set | None) -> dict:
    model = source.model
    preparation = {"width": shape[3], "height": shape[2], **source.input}
    if (preparation["width"], preparation["height"]) != (shape[3], shape[2]):
        # Another size than the source's: keep its share of the picture.
        scale = min(shape[2:]) / min(preparation["width"], preparation["height"])
        if "resize" in preparation:
            preparation["resize"] = round(preparation["resize"] * scale)
        preparation |= {"width": shape[3], "height": shape[2]}
    if shape[1] != 3:
        preparation["channels"] = shape[1]
    if shape[1] == 3:
        preparation.setdefault("mean", IMAGENET_MEAN)
        preparation.setdefault("std", IMAGENET_STD)
    sidecar = {"name": args.name or Path(args.model.partition(":")[2]).name, "source": args.model, "input": preparation}
    with torch.no_grad():
        output = model(x)
    if not tensors_of(output):
        raise ExportError(f"the model gives {type(output).__name__}, in which there is no tensor to explain")
    layer, reshape = suggest_layer(model, x, tensors_of(output)[0].dim() == x.dim(), known)
    if args.layer:
        paths = [path for path, _ in model.named_modules()]
        unknown = [path for path in args.layer if path not in paths]
        if unknown:
            raise ExportError(f"the model has no layer '{unknown[0]}'")
        without = [path for path in args.layer if known is not None and path not in known]
        if without:
            raise ExportError(f"layer '{without[0]}' does nothing, so that the exported program has nothing of it")
        layer = args.layer if len(args.layer) > 1 else args.layer[0]
        shapes = {call.path: form_of(call, x) for call in record_calls(model, x)}
        if shapes.get(args.layer[0]) == "map":
            reshape = None
    if layer:
        sidecar["layer"] = layer
    else:
        source.notes.append("no layer could be chosen: name one with --layer")
    if reshape:
        sidecar["reshapeTransform"] = reshape
    selector = output_selector(output)
    if selector is not None:
        sidecar["output"] = selector
    classes = tensors_of(output)[0].shape[1] if tensors_of(output)[0].dim() > 1 else 0
    labels = source.labels
    if args.labels:
        text = Path(args.labels).read_text(encoding="utf-8")
        labels = json.loads(text) if text.lstrip().startswith("[") else text.rstrip().splitlines()
    if labels and len(labels) != classes:
        if args.labels:
            raise ExportError(f"'{args.labels}' has {len(labels)} labels, but the model {classes} outputs")
        source.notes.append(f"{len(labels)} labels for {classes} outputs: left out")
        labels = None
    if labels:
        sidecar["labels"] = labels
    return sidecar


def as_json(sidecar: dict) -> str:
    """Indented, with arrays of numbers in one line."""
    text = json.dumps(sidecar, indent=2, ensure_ascii=False)
    in_one_line = re.sub(r"\[[\d\s.,e+-]+\]", lambda match: f"[{' '.join(match[0][1:-1].split())}]", text)
    return in_one_line + "\n"


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="torchvision:NAME, timm:NAME, hf:NAME-OR-FOLDER or python:MODULE:FUNCTION")
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: NAME.pt); the sidecar goes beside it")
    parser.add_argument("--format", choices=list(SUFFIXES), help="default: pt2 where --output ends in .pt2, else torchscript")
    parser.add_argument("--weights", help="torchvision: DEFAULT, IMAGENET1K_V2, ... (default: random weights)")
    parser.add_argument("--pretrained", action="store_true", help="timm: load its pretrained weights")
    parser.add_argument("--checkpoint", help="a state dict (.pth) to load into the model")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="for the model's constructor")
    parser.add_argument("--labels", help="class names: a JSON array, or one a line (default: the source's)")
    parser.add_argument("--name", help="the model's name in the sidecar")
    parser.add_argument("--layer", action="append", help="target layer (default: chosen); several are averaged")
    parser.add_argument("--size", help="input size: 224, or 224x320 (height x width) (default: the source's)")
    parser.add_argument("--channels", type=int, help="input channels (default: the source's, or 3)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--trace", action="store_true", help="TorchScript: record one run (the default); follows no branches")
    how.add_argument("--script", action="store_true", help="TorchScript: compile the code; not every model allows it")
    parser.add_argument("--dynamic-size", action="store_true", help="pt2: images of any height and width")
    parser.add_argument(
        "--batch-size", type=int, default=1, help="pt2: images in a run, where the model does not allow any number (default: 1)"
    )
    parser.add_argument("--visible-attention", action="store_true", help="write attention as matrix products and softmax")
    parser.add_argument("--half", action="store_true", help="store float16: half the size; on a CPU it runs as float32")
    parser.add_argument("--seed", type=int, default=0, help="of random weights (default: 0)")
    parser.add_argument("--force", action="store_true", help="overwrite files")
    return parser.parse_args(arguments)


def shape_of(args, source: Source) -> list:
    """[1, C, H, W]"""
    try:
        sizes = [int(size) for size in args.size.lower().split("x")] if args.size else []
    except ValueError as error:
        raise ExportError(f"--size must be 224 or 224x320, not '{args.size}'") from error
    height = sizes[0] if sizes else source.input.get("height", 224)
    width = sizes[-1] if sizes else source.input.get("width", 224)
    return [1, args.channels or source.input.get("channels", 3), height, width]


def format_of(args) -> str:
    suffix = args.output.suffix if args.output else None
    if suffix == ".json":
        raise ExportError("--output names the model, such as model.pt; the sidecar becomes model.json")
    chosen = args.format or ("pt2" if suffix == ".pt2" else "torchscript")
    if suffix and (chosen == "pt2") != (suffix == ".pt2"):
        raise ExportError(f"--format {chosen} writes {SUFFIXES[chosen]} files, not '{args.output}'")
    if chosen == "pt2" and (args.script or args.trace):
        raise ExportError("--script and --trace belong to TorchScript: leave them out, or add --format torchscript")
    if chosen == "torchscript" and (args.dynamic_size or args.batch_size != 1):
        raise ExportError("--dynamic-size and --batch-size belong to exported programs: add --format pt2")
    if args.batch_size < 1:
        raise ExportError("--batch-size must be 1 or more")
    return chosen


def export(args, chosen: str, model: nn.Module, images: torch.Tensor) -> Exported:
    if chosen == "pt2":
        return to_program(model, images, args.batch_size, args.dynamic_size)
    return to_torchscript(model, images, args.script)


def differences(model: nn.Module, written: nn.Module, tried: list, advice: str) -> tuple:
    """What the file's outputs differ by from the model's, in words, and how large the outputs are."""
    reports, scale = [], 0.0
    for x in tried:
        images = f"{len(x)} image{'s' if len(x) > 1 else ''} of {x.shape[2]} x {x.shape[3]}"
        try:
            expected = outputs_of(model, x)
        except RuntimeError as error:
            raise ExportError(f"the model itself does not take {images}: {str(error)[-300:]}") from error
        scale = max(scale, *(float(output.abs().max()) for output in expected))
        try:
            largest = largest_difference(expected, outputs_of(written, x))
        except (RuntimeError, AssertionError) as error:
            raise ExportError(f"the exported file fails for {images}: {str(error)[-300:]}") from error
        reports.append(f"{largest:.1e} ({images})")
        if not largest <= TOLERANCE * scale:
            raise ExportError(
                f"the exported file differs from the original by {largest:.1e} for {images} (outputs up to {scale:.1e}){advice}"
            )
    return reports, scale


def write_half(exported: Exported, model: nn.Module, args, images: torch.Tensor, output: Path) -> str:
    """Writes the weights as float16. What they differ by is rounding: nothing that could be wrong."""
    x = exported.tried[0]
    expected = outputs_of(model, x)
    if isinstance(exported.program, torch.jit.ScriptModule):
        exported.program.half()  # from here on the source's model has these weights too
        exported.save(output)
        written = load_file(output).float()
    else:
        # The types are the program's own: it is exported anew, and computes in float16 in Python too.
        to_program(copy.deepcopy(model).half(), images.half(), args.batch_size, args.dynamic_size).save(output)
        written, x = load_file(output), x.half()
    return f"{largest_difference(expected, outputs_of(written, x)):.1e} (weights rounded to float16)"


def run(args) -> None:
    chosen = format_of(args)
    output = args.output or Path(f"{args.model.replace('/', ':').rstrip(':').split(':')[-1]}{SUFFIXES[chosen]}")
    sidecar_path = output.with_suffix(".json")
    for path in (output, sidecar_path):
        if path.exists() and not args.force:
            raise ExportError(f"'{path}' exists; add --force to overwrite it")
    source = load(args)
    shape = shape_of(args, source)
    images = torch.randn([3, *shape[1:]], generator=torch.Generator().manual_seed(1))
    exported = export(args, chosen, source.model, images)
    known = layers_of(exported.program) if chosen == "pt2" else None
    sidecar = sidecar_of(args, source, shape, images[:1], known)

    output.parent.mkdir(parents=True, exist_ok=True)
    advice = ": try --format torchscript" if chosen == "pt2" else f": try {'--trace' if args.script else '--script'}"
    try:
        exported.save(output)
        reports, scale = differences(source.model, load_file(output), exported.tried, advice)
        if args.half:
            reports.append(write_half(exported, source.model, args, images, output))
    except BaseException:
        output.unlink(missing_ok=True)
        raise
    sidecar_path.write_text(as_json(sidecar), encoding="utf-8")

    parameters = sum(parameter.numel() for parameter in source.model.parameters())
    print(f"{args.model}, {parameters / 1e6:.1f} M parameters, {exported.how}")
    print(f"  input                {' x '.join(map(str, shape))}")
    print(f"  layer                {sidecar.get('layer')}, reshape {json.dumps(sidecar.get('reshapeTransform'))}")
    print(f"  labels               {len(sidecar.get('labels', [])) or 'none'}")
    print(f"  largest difference   {', '.join(reports)}; outputs up to {scale:.2f}")
    print(f"  wrote                {output} ({output.stat().st_size / 1e6:.1f} MB), {sidecar_path}")
    for note in source.notes + exported.notes:
        print(f"  note: {note}")


def main(arguments=None) -> int:
    try:
        run(parse(arguments))
    except (ExportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
