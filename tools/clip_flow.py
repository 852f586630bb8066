"""Heat of a CLIP for a prompt, as people write it by hand in PyTorch: the reference for ClipExplainer."""

import numpy as np
import torch
from open_clip.transformer import LayerNormFp32
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F

from float64_result import doubled

MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
STD = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)


class Hook:
    """Keeps the output of a module and, after backward, its gradient."""

    def __init__(self, module: nn.Module):
        self.handle = module.register_forward_hook(self.keep)

    def keep(self, _module, _inputs, output):
        self.output = output
        output.requires_grad_(True)
        output.retain_grad()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.handle.remove()


def clip_map(clip: nn.Module, layer: str, image: torch.Tensor, text: torch.Tensor, cosine: bool = False) -> torch.Tensor:
    """[1, 3, H, W] and [E] -> [H, W], not normalised: the gradient's mean times the activation, clamped, bicubic."""
    for parameter in clip.parameters():
        parameter.requires_grad_(False)
    with Hook(clip.get_submodule(layer)) as hook:
        output = clip.encode_image(image)
        if cosine:
            F.cosine_similarity(output, text[None]).sum().backward()
        else:
            output.backward(text[None])
        alpha = hook.output.grad.mean(dim=(2, 3), keepdim=True)
        cam = (hook.output.detach() * alpha).sum(dim=1, keepdim=True).clamp(min=0)
    return F.interpolate(cam, image.shape[2:], mode="bicubic", align_corners=False)[0, 0]


def in_double(clip: nn.Module) -> nn.Module:
    clip = doubled(clip)
    clip.transformer.get_cast_dtype = lambda: torch.float64
    for module in clip.modules():
        if isinstance(module, LayerNormFp32):  # which casts to float32
            module.__class__ = nn.LayerNorm
    return clip


def normalize(x: np.ndarray) -> np.ndarray:
    x = x - x.min()
    return x / x.max() if x.max() > 0 else x


def blurred(x: np.ndarray) -> np.ndarray:
    """The attention map that is drawn."""
    return normalize(gaussian_filter(x, 0.02 * max(x.shape[:2])))
