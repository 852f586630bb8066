"""Which layer of a model to explain, for export_model.py: the rule of node-gradcam, on the original model."""

from dataclasses import dataclass

import torch
from torch import nn

MOST_PREFIX_TOKENS = 16


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


def suggest_layer(model: nn.Module, x: torch.Tensor, dense: bool = False, known: set | None = None) -> tuple:
    """The last layer with a spatial map, or of a transformer the one before the last attention, with how its output
    becomes a map: the rule of node-gradcam. (None, None) where there is none. `known`: the paths that the file has."""
    calls = [call for call in record_calls(model, x) if known is None or call.path in known]
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
