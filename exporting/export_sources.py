"""Where models come from, for export_model.py: torchvision, timm, Hugging Face and Python modules."""

import ast
import importlib
import inspect
import math
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

PIL_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


@dataclass
class Source:
    """A model with what its library knows of it."""

    model: nn.Module
    input: dict  # the sidecar's "input"
    labels: list | None = None
    notes: list = field(default_factory=list)


class ExportError(Exception):
    """Told without a traceback."""


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
