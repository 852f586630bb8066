#!/usr/bin/env python3
"""Exports an image model to TorchScript, together with the sidecar that node-gradcam reads: model.pt and model.json.

    python export_torchscript.py torchvision:resnet50 --weights DEFAULT
    python export_torchscript.py timm:vit_base_patch16_224 --pretrained --visible-attention -o vit.pt
    python export_torchscript.py hf:google/vit-base-patch16-224
    python export_torchscript.py hf:./my-finetuned-vit
    python export_torchscript.py timm:resnet18 --option num_classes=7 --checkpoint best.pth --labels labels.txt
    python export_torchscript.py python:my_package.models:make_model --size 320

The sidecar gets the preprocessing of the source (torchvision's weights, timm's data config, Hugging Face's image
processor), its labels, the default target layer and, for transformers, how that layer's tokens become a map. The exported
module is run against the original one, for one image and for two, and the largest difference is printed.

This file stands alone: copy it where your model lives. It needs torch, and the package that the model comes from.
"""

import argparse
import ast
import importlib
import inspect
import json
import math
import re
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PIL_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
MOST_PREFIX_TOKENS = 16
# A larger difference than this, for outputs of about 1, is no rounding.
TOLERANCE = 1e-3


@dataclass
class Source:
    """A model with what its library knows of it."""

    model: nn.Module
    input: dict  # the sidecar's "input"
    labels: list | None = None
    notes: list = field(default_factory=list)


class ExportError(Exception):
    """Told without a traceback."""


# --- where models come from


def load_torchvision(name: str, args) -> Source:
    from torchvision import models

    try:
        known = models.get_model_weights(name)
    except ValueError as error:
        near = [other for other in models.list_models() if name.split("_")[0] in other][:12]
        raise ExportError(f"torchvision has no model '{name}'. Near it: {', '.join(near) or 'none'}") from error
    if name in models.list_models(models.detection):
        raise ExportError("torchvision's detectors take lists of images; export them with torch.jit.script yourself")
    weights = None
    if args.weights:
        try:
            weights = known[args.weights]
        except KeyError as error:
            names = ["DEFAULT", *known.__members__]
            raise ExportError(f"{name} has no weights '{args.weights}', but {', '.join(names)}") from error
    notes = []
    described = weights or next(iter(known), None)
    preparation = {}
    if described is None:
        notes.append("torchvision tells no preprocessing for it: ImageNet's usual one is assumed")
    else:
        preset = described.transforms()
        crop, resize = getattr(preset, "crop_size", None), getattr(preset, "resize_size", None)
        crop = crop or resize
        if crop:
            preparation |= {"width": int(crop[-1]), "height": int(crop[0])}
        if resize:
            preparation["resize"] = int(resize[0])
        if hasattr(preset, "interpolation"):
            preparation["interpolation"] = preset.interpolation.value
        preparation |= {"mean": list(preset.mean), "std": list(preset.std)}
        if weights is None:
            notes.append(f"without weights: the preprocessing is that of {described.name}")
    kwargs = options_of(args)
    if weights is None and "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        kwargs.setdefault("weights_backbone", None)
    model = models.get_model(name, weights=weights, **kwargs)
    if args.visible_attention:
        notes.append("torchvision's attention has no visible form; node-gradcam writes it out for LeGrad")
    labels = list(weights.meta.get("categories") or []) if weights else None
    return Source(model, preparation, labels, notes)


def load_timm(name: str, args) -> Source:
    import timm
    from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_data_config

    if not args.pretrained and not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:12]
        raise ExportError(f"timm has no model '{name}'. Near it: {', '.join(near) or 'none'}")
    if args.visible_attention:
        timm.layers.set_fused_attn(False)
    kwargs = options_of(args)
    model = timm.create_model(
        name, pretrained=args.pretrained, exportable=True, scriptable=args.script, **kwargs
    )
    config = resolve_data_config({}, model=model)
    channels, height, width = config["input_size"]
    preparation = {"width": width, "height": height}
    if channels != 3:
        preparation["channels"] = channels
    if config["crop_mode"] == "squash":
        preparation["fit"] = "stretch"
    elif config["crop_mode"] == "border":
        fill = [round(value * 255) for value in config["mean"]]
        preparation |= {"fit": "contain", "paddingColor": fill}
    else:
        preparation["resize"] = math.floor(min(height, width) / config["crop_pct"])
    interpolation = config["interpolation"]
    preparation["interpolation"] = interpolation if interpolation in PIL_FILTERS.values() else "bilinear"
    preparation |= {"mean": list(config["mean"]), "std": list(config["std"])}
    labels = None
    subset = infer_imagenet_subset(model) if args.pretrained else None
    if subset and "num_classes" not in kwargs:
        info = ImageNetInfo(subset)
        labels = [info.index_to_description(index) for index in range(info.num_classes())]
    return Source(model, preparation, labels)


class Logits(nn.Module):
    """A Hugging Face model whose output is the logits alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def load_hf(name: str, args) -> Source:
    import transformers

    warnings.simplefilter("ignore", FutureWarning)  # of its own inner workings
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    attention = {"attn_implementation": "eager"} if args.visible_attention else {}
    try:
        model = transformers.AutoModelForImageClassification.from_pretrained(name, **attention, **options_of(args))
    except (OSError, ValueError) as error:
        raise ExportError(f"Hugging Face's transformers cannot load '{name}': {error}") from error
    notes = []
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name).to_dict()
    except (OSError, ValueError, ImportError) as error:
        processor = {}
        notes.append(f"no image processor, ImageNet's usual preprocessing is assumed ({str(error).splitlines()[0]})")
    preparation = preparation_of_processor(processor, notes)
    size = getattr(model.config, "image_size", None)
    if size and "width" not in preparation:
        height, width = (size, size) if isinstance(size, int) else size
        preparation |= {"width": width, "height": height}
    names = model.config.id2label
    labels = [names[index] for index in range(len(names))]
    if all(label == f"LABEL_{index}" for index, label in enumerate(labels)):
        labels = None
    return Source(Logits(model), preparation, labels, notes)


def preparation_of_processor(processor: dict, notes: list) -> dict:
    """The sidecar's input from the config of a Hugging Face image processor."""
    if not processor:
        return {}
    result = {}
    size, crop = processor.get("size") or {}, processor.get("crop_size") or {}
    size = {"shortest_edge": size} if isinstance(size, int) else dict(size)
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else dict(crop)
    shorter = size.get("shortest_edge")
    if processor.get("do_center_crop") and "height" in crop:
        result |= {"width": crop["width"], "height": crop["height"]}
        if shorter:
            result["resize"] = shorter
        elif "height" in size:
            result |= {"fit": "stretch", "resize": min(size["height"], size["width"])}
    elif "height" in size:
        result |= {"width": size["width"], "height": size["height"], "fit": "stretch"}
    elif shorter:
        result |= {"width": shorter, "height": shorter}
        share = processor.get("crop_pct")  # ConvNeXt: below 384 it resizes to size / crop_pct and cuts out the centre
        if share and shorter < 384:
            result["resize"] = int(shorter / share)
        elif share:
            result["fit"] = "stretch"
        else:
            result["resize"] = shorter
            notes.append("the processor keeps the whole image at its own aspect: the sidecar cuts out the centre")
    if "resample" in processor:
        result["interpolation"] = PIL_FILTERS.get(int(processor["resample"] or 0), "bilinear")
    if processor.get("do_flip_channel_order"):
        result["channelOrder"] = "bgr"
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    top = factor * 255
    value_range = [-1.0, top - 1.0] if processor.get("rescale_offset") else [0.0, top]
    if any(abs(a - b) > 1e-6 for a, b in zip(value_range, (0, 1))):
        result["valueRange"] = [round(value, 6) for value in value_range]
    normalizes = processor.get("do_normalize", False)
    result["mean"] = list(processor["image_mean"]) if normalizes else [0.0, 0.0, 0.0]
    result["std"] = list(processor["image_std"]) if normalizes else [1.0, 1.0, 1.0]
    return result


def load_python(name: str, args) -> Source:
    module, _, function = name.partition(":")
    if not function:
        raise ExportError("python: needs a module and a function that makes the model, python:package.models:make_model")
    sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ExportError(f"cannot import {function} from {module}: {error}") from error
    model = make(**options_of(args))
    if not isinstance(model, nn.Module):
        raise ExportError(f"{name} gave {type(model).__name__}, not a torch.nn.Module")
    return Source(model, {}, notes=["the preprocessing is unknown: ImageNet's usual one is assumed, edit the sidecar"])


LOADERS = {"torchvision": load_torchvision, "timm": load_timm, "hf": load_hf, "python": load_python}


def options_of(args) -> dict:
    """--option depth=2 --option name=text -> keyword arguments."""
    kwargs = {}
    for text in args.option:
        key, equals, value = text.partition("=")
        if not equals:
            raise ExportError(f"--option needs key=value, not '{text}'")
        try:
            kwargs[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            kwargs[key] = value
    return kwargs


def load_checkpoint(model: nn.Module, path: str) -> None:
    """A state dict, also inside of a training checkpoint, also of a DataParallel model."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict", "model", "state_dict_ema"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise ExportError(f"'{path}' holds {type(content).__name__}, not a state dict")
    content = {key.removeprefix("module."): value for key, value in content.items()}
    target = model.model if isinstance(model, Logits) else model
    try:
        target.load_state_dict(content)
    except RuntimeError as error:
        raise ExportError(f"'{path}' does not fit the model: {str(error)[:600]}") from error


# --- which layer to explain


@dataclass
class Call:
    path: str
    type: str
    shape: tuple  # empty where the output is no tensor


def record_calls(model: nn.Module, x: torch.Tensor) -> list:
    calls, handles = [], []
    for path, module in model.named_modules():

        def keep(_module, _inputs, output, path=path, kind=type(module).__name__):
            calls.append(Call(path, kind, tuple(output.shape) if isinstance(output, torch.Tensor) else ()))

        # An Identity leaves no trace: there is nothing of it in the exported file.
        if path and not isinstance(module, nn.Identity):
            handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    attentions = [call.path + "." for call in calls if is_attention(call)]
    return [call for call in calls if not any(call.path.startswith(inner) for inner in attentions)]


def is_attention(call: Call) -> bool:
    return "Attention" in call.type or call.path.split(".")[-1] in ("attn", "self_attn", "attention", "self_attention")


def like_image(height: int, width: int, x: torch.Tensor) -> bool:
    if height > x.shape[2] or width > x.shape[3]:
        return False
    return abs(height * x.shape[3] - width * x.shape[2]) < 2 * max(x.shape[2:])


def form_of(call: Call, x: torch.Tensor) -> str | None:
    shape = call.shape
    if len(shape) == 3 and shape[0] == len(x):
        return "tokens" if shape[1] > 1 else None
    if len(shape) != 4 or shape[0] != len(x):
        return None
    if shape[1] * shape[2] > 1 and like_image(shape[1], shape[2], x) and not like_image(shape[2], shape[3], x):
        return "nhwc"
    return "map" if max(shape[2:]) > 1 else None


def prefix_tokens(tokens: int, x: torch.Tensor) -> int | None:
    """The tokens before those of the image: what the largest grid of the image's shape leaves over."""
    best = 0
    for height in range(1, min(x.shape[2], tokens) + 1):
        exact = height * x.shape[3]
        for width in (max(1, exact // x.shape[2]), -(-exact // x.shape[2])):
            if height * width <= tokens:
                best = max(best, height * width)
    return tokens - best if tokens - best <= MOST_PREFIX_TOKENS else None


def suggest_layer(model: nn.Module, x: torch.Tensor, dense: bool = False) -> tuple:
    """The last layer with a spatial map, or of a transformer the one before the last attention, with how its output
    becomes a map: the rule of node-gradcam. (None, None) where there is none."""
    calls = record_calls(model, x)
    forms = [form_of(call, x) for call in calls]
    if dense:
        # A model whose output is a map narrows it to a channel per class: the widest layer is the last with features.
        maps = [call for call, form in zip(calls, forms) if form == "map"]
        widest = max((call.shape[1] for call in maps), default=0)
        return next(((call.path, None) for call in reversed(maps) if call.shape[1] == widest), (None, None))
    last_map = max((index for index, form in enumerate(forms) if form == "map"), default=-1)
    behind = sum(form in ("tokens", "nhwc") for form in forms[last_map + 1 :])
    if behind * 2 <= len(calls):
        return (calls[last_map].path, None) if last_map >= 0 else (None, None)
    attention = max((index for index, call in enumerate(calls) if is_attention(call)), default=-1)
    for index in range(attention - 1, -1, -1):
        if forms[index] == "nhwc":
            return calls[index].path, "nhwc"
        if forms[index] == "tokens":
            prefix = prefix_tokens(calls[index].shape[1], x)
            return (None, None) if prefix is None else (
                calls[index].path,
                {"kind": "tokens", "prefixTokens": prefix},
            )
    return None, None


# --- export, check, write


def export(model: nn.Module, x: torch.Tensor, script: bool) -> torch.jit.ScriptModule:
    # The fast path of PyTorch's attention is one operator without gradients: it must not be traced.
    torch.backends.mha.set_fastpath_enabled(False)
    if script:
        return torch.jit.script(model)
    with warnings.catch_warnings():
        # What a trace may have frozen in is found by running it on two images, not guessed from warnings.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.jit.trace(model, x, strict=False, check_trace=False)


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


def sidecar_of(args, source: Source, shape: list, model: nn.Module, x: torch.Tensor) -> dict:
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
    layer, reshape = suggest_layer(model, x, dense=tensors_of(output)[0].dim() == x.dim())
    if args.layer:
        paths = [path for path, _ in model.named_modules()]
        unknown = [path for path in args.layer if path not in paths]
        if unknown:
            raise ExportError(f"the model has no layer '{unknown[0]}'")
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
    how.add_argument("--trace", action="store_true", help="record one run (the default); follows no branches")
    how.add_argument("--script", action="store_true", help="compile the Python code; not every model allows it")
    parser.add_argument("--visible-attention", action="store_true", help="write attention as matrix products and softmax")
    parser.add_argument("--half", action="store_true", help="store float16: half the size; on a CPU it runs as float32")
    parser.add_argument("--seed", type=int, default=0, help="of random weights (default: 0)")
    parser.add_argument("--force", action="store_true", help="overwrite files")
    return parser.parse_args(arguments)


def load(args) -> Source:
    """The model, in eval mode, with its checkpoint."""
    kind, _, name = args.model.partition(":")
    if kind not in LOADERS or not name:
        raise ExportError(f"'{args.model}' must begin with {', '.join(f'{known}:' for known in LOADERS)}")
    torch.manual_seed(args.seed)
    try:
        source = LOADERS[kind](name, args)
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}; install it beside torch") from error
    except TypeError as error:
        raise ExportError(f"the model cannot be made with these options: {error}") from error
    if args.checkpoint:
        load_checkpoint(source.model, args.checkpoint)
    source.model.eval()
    return source


def shape_of(args, source: Source) -> list:
    """[1, C, H, W]"""
    try:
        sizes = [int(size) for size in args.size.lower().split("x")] if args.size else []
    except ValueError as error:
        raise ExportError(f"--size must be 224 or 224x320, not '{args.size}'") from error
    height = sizes[0] if sizes else source.input.get("height", 224)
    width = sizes[-1] if sizes else source.input.get("width", 224)
    return [1, args.channels or source.input.get("channels", 3), height, width]


def run(args) -> None:
    output = args.output or Path(f"{args.model.replace('/', ':').rstrip(':').split(':')[-1]}.pt")
    sidecar_path = output.with_suffix(".json")
    for path in (output, sidecar_path):
        if path.exists() and not args.force:
            raise ExportError(f"'{path}' exists; add --force to overwrite it")
    if output.suffix == ".json":
        raise ExportError("--output names the model, such as model.pt; the sidecar becomes model.json")
    source = load(args)
    shape = shape_of(args, source)
    pictures = torch.randn([2, *shape[1:]], generator=torch.Generator().manual_seed(1))
    one = pictures[:1]
    sidecar = sidecar_of(args, source, shape, source.model, one)
    exported = export(source.model, one, args.script)

    reports = []
    for x in (one, pictures):
        expected = outputs_of(source.model, x)
        scale = max(float(output.abs().max()) for output in expected)
        try:
            largest = largest_difference(expected, outputs_of(exported, x))
        except RuntimeError as error:
            raise ExportError(f"the exported module fails for {len(x)} images: {str(error)[-300:]}") from error
        reports.append(f"{largest:.1e} ({len(x)} image{'s' if len(x) > 1 else ''})")
        if not largest <= TOLERANCE * max(1, scale):
            raise ExportError(
                f"the exported module differs from the original by {largest:.1e} for {len(x)} images (outputs up to "
                f"{scale:.1e}): tracing froze something in; try {'--trace' if args.script else '--script'}"
            )
    if args.half:
        exported.half()  # from here on the source's model has these weights too
    output.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.save(exported, str(output))
    if args.half:
        largest = largest_difference(expected, outputs_of(torch.jit.load(str(output)).float(), pictures))
        reports.append(f"{largest:.1e} (weights rounded to float16)")
    sidecar_path.write_text(as_json(sidecar), encoding="utf-8")

    parameters = sum(parameter.numel() for parameter in source.model.parameters())
    print(f"{args.model}, {parameters / 1e6:.1f} M parameters, {'scripted' if args.script else 'traced'}")
    print(f"  input                {' x '.join(map(str, shape))}")
    print(f"  layer                {sidecar.get('layer')}, reshape {json.dumps(sidecar.get('reshapeTransform'))}")
    print(f"  labels               {len(sidecar.get('labels', [])) or 'none'}")
    print(f"  largest difference   {', '.join(reports)}; outputs up to {scale:.2f}")
    print(f"  wrote                {output} ({output.stat().st_size / 1e6:.1f} MB), {sidecar_path}")
    for note in source.notes:
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
