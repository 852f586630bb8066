"""Small models of torchvision's own classes, and a head like YOLO's, for test/fixtures/detection."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.resnet import BasicBlock
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabV3
from torchvision.models.segmentation.fcn import FCN, FCNHead
from torchvision.ops import MultiScaleRoIAlign

FPN_CHANNELS = 8
CLASSES = 4


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The model with fixed random weights, its BatchNorms with statistics of their own."""
    torch.manual_seed(seed)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.uniform_(module.bias, -0.2, 0.3)
    return model


def block(inputs: int, outputs: int, stride: int) -> BasicBlock:
    downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return BasicBlock(inputs, outputs, stride, downsample)


class Body(nn.Module):
    """A ResNet's structure, with a block and few channels a layer; its layers are 2, 4, 8 and 8 times smaller."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(block(8, 8, 1))
        self.layer2 = nn.Sequential(block(8, 12, 2))
        self.layer3 = nn.Sequential(block(12, 16, 2))
        self.layer4 = nn.Sequential(block(16, 16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def faster_rcnn() -> FasterRCNN:
    layers = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}
    backbone = BackboneWithFPN(Body(), layers, [8, 12, 16, 16], FPN_CHANNELS)
    model = FasterRCNN(
        backbone,
        min_size=64,
        max_size=128,
        rpn_anchor_generator=AnchorGenerator(((8,), (14,), (20,), (28,), (40,)), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_test=6,
        rpn_post_nms_top_n_test=16,
        rpn_nms_thresh=0.4,
        # By default boxes of 224 pixels are cut out of the level 4, so that all of ours would come from one level.
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2, canonical_scale=32, canonical_level=2),
        box_head=TwoMLPHead(FPN_CHANNELS * 7 * 7, 16),
        box_predictor=FastRCNNPredictor(16, CLASSES),
        box_score_thresh=0.05,
        box_nms_thresh=0.3,
        box_detections_per_img=4,
    )
    # Wider than torchvision's, so that untrained weights find boxes of many sizes and are sure of some.
    for module in [*model.rpn.head.modules()]:
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.2)
    nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.02)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=1.5)
    return model


def segmentation_backbone() -> nn.Module:
    return IntermediateLayerGetter(Body(), {"layer4": "out", "layer3": "aux"})


def deeplabv3() -> DeepLabV3:
    """DeepLabHead's modules, which are fixed to 256 channels, with 8."""
    head = nn.Sequential(
        ASPP(16, [2, 4, 6], out_channels=8),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, CLASSES, 1),
    )
    return DeepLabV3(segmentation_backbone(), head, FCNHead(16, CLASSES))


def fcn() -> FCN:
    return FCN(segmentation_backbone(), FCNHead(16, CLASSES), FCNHead(16, CLASSES))


class Yolo(nn.Module):
    """One tensor per image, [cells x anchors, 5 + classes]: box, objectness, and a probability for each class."""

    def __init__(self):
        super().__init__()
        self.body = Body()
        self.values = 5 + CLASSES
        self.head = nn.Conv2d(16, 2 * self.values, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(F.silu(self.body(x)))
        y = y.view(y.size(0), 2, self.values, y.size(2), y.size(3)).permute(0, 3, 4, 1, 2)
        return torch.sigmoid(y * 2).reshape(y.size(0), -1, self.values)


class BestBoxes(nn.Module):
    """A target for heads like YOLO's: the scores (objectness x probability) of a class's best boxes, summed."""

    def __init__(self, category: int, count: int):
        super().__init__()
        self.category = category
        self.count = count

    def forward(self, output: torch.Tensor) -> torch.Tensor:
        scores = output[:, 4] * output[:, 5 + self.category]
        return torch.topk(scores, self.count)[0].sum()
