"""Small torchvision transformers and ConvNeXt, by the library's own classes, for export_torchscript.py python:..."""

from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

SWIN = {"patch_size": [4, 4], "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4]}


def vit() -> nn.Module:
    return VisionTransformer(64, 8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=5)


def swin() -> nn.Module:
    return SwinTransformer(**SWIN, num_classes=5)


def swin_v2() -> nn.Module:
    return SwinTransformer(**SWIN, num_classes=5, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(16, 24, 1), CNBlockConfig(24, 32, 2), CNBlockConfig(32, None, 1)], num_classes=5)
