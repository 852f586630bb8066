"""The models of the comparison of exported programs: torchvision's of ../large_models, its LRASPP, and six of timm that are of
other kinds. Random weights; each with a layer behind which nothing is written in place, and how its output becomes a map."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import timm
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget
from torch import nn

from tools.compare.large_models import models as large
from tools.fixtures.family import library

SIZE = 224
TORCHVISION = (
    "resnet50",
    "densenet121",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
)
# Of timm: the layer, and the tokens before those of the image where it gives tokens.
TIMM = {
    "mixer_s16_224": ("blocks.6", 0),
    "xcit_nano_12_p16_224": ("blocks.11", 0),
    "pvt_v2_b0": ("stages.3", None),
    "hrnet_w18_small": ("final_layer", None),
    "mobilevit_xs": ("final_conv", None),
    "focalnet_tiny_srf": ("layers.3", None),
}
NAMES = (*TORCHVISION, "lraspp_mobilenet_v3_large", *(f"timm:{name}" for name in TIMM))


@dataclass
class Compared:
    model: nn.Module
    layer: str
    transform: Callable | None = None  # pytorch-grad-cam's
    reshape: str | dict | None = None  # ours
    output: str | None = None

    def targets(self, answer: torch.Tensor) -> tuple[list, list]:
        """Of each image the best class, or the best category of its left half: pytorch-grad-cam's targets, and ours as JSON."""
        if answer.dim() == 2:
            classes = answer.argmax(1).tolist()
            return library.new_targets([[each] for each in classes]), classes
        mask = np.zeros(answer.shape[2:], np.float32)
        mask[:, : mask.shape[1] // 2] = 1
        categories = [int(scores[:, mask > 0].mean(1).argmax()) for scores in answer]
        return [SemanticSegmentationTarget(each, mask) for each in categories], categories


def build(name: str, x: torch.Tensor) -> Compared:
    if name in TORCHVISION:
        known = large.MODELS[name]
        return Compared(large.build(name, x), known.layers[0], large.transform_of(known, SIZE), known.reshape)
    torch.manual_seed(0)
    if name.startswith("timm:"):
        layer, prefix = TIMM[name.removeprefix("timm:")]
        model = revived(timm.create_model(name.removeprefix("timm:")), x)
        if prefix is None:
            return Compared(model, layer)
        return Compared(model, layer, library.tokens(prefix, (SIZE // 16, SIZE // 16)), {"kind": "tokens", "prefixTokens": prefix})
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    return Compared(revived(model, x), "backbone.16", output="out")


def revived(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """What training would have moved, so that the maps say something."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.out_features == 1000:
            nn.init.normal_(module.weight, std=0.5)
    for path, parameter in model.named_parameters():
        if path.split(".")[-1].startswith("gamma"):
            nn.init.constant_(parameter, 0.7)
        elif path.endswith(("low_classifier.weight", "high_classifier.weight")):
            nn.init.normal_(parameter, std=0.5)
    large.fit_batch_norms(model, x)
    return model.eval()
