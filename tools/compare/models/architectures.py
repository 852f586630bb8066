"""The architectures of `npm run compare:models`: how each is made, and by hand where a practitioner looks in it.

Weights are random, with a fixed seed. What training would have moved and initialisation leaves equal (LayerScale, norms,
position embeddings) is drawn too, and BatchNorm has the statistics of its input, so that maps say something.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from unittest import mock

import numpy as np
import torch
from torch import nn

CLASSES = 10


def tokens(prefix: int, *grid: int):
    """[B, prefix + H * W, C] -> [B, C, H, W], and the like of a video."""
    return lambda x: x[:, prefix:].reshape(x.size(0), *grid, x.size(2)).movedim(-1, 1)


def channels_last(x):
    return x.movedim(-1, 1)


@dataclass
class Architecture:
    make: Callable[[], nn.Module]
    input: tuple[int, ...]  # its shape
    # The layers that a practitioner would take, the best known first, with what makes their output [B, C, ...space].
    layers: dict[str, Callable | None]
    target: str = "class"  # or "category" of a segmentation, "boxes" of a detector, "query" of a DETR
    scripted: bool = False
    output: str | int | None = None  # where the file's output holds several
    select: bool = False  # of the output of the Python model too
    refusal: str | None = None  # the code, where no map is the right answer
    pyramid: bool = False  # the layer gives several maps
    spread: dict[str, float] = field(default_factory=dict)  # of parameters of heads, of which no usual draw says anything
    methods: tuple[str, ...] = ("GradCAM", "EigenCAM")
    seed: int = 7
    both_layouts: bool = True  # the float32 run of the truth also with channels last in memory


def timm_model(name: str, **options):
    def make():
        import timm

        return timm.create_model(name, num_classes=CLASSES, **options)

    return make


def of_timm(name: str, layers: dict, size=(96, 128), sized=True, **more):
    return Architecture(timm_model(name, **({"img_size": size} if sized else {})), (2, 3, *size), layers, **more)


def torchvision_model(kind: str, name: str, **options):
    def make():
        import torchvision

        module = torchvision.models
        for part in kind.split(".") if kind else ():
            module = getattr(module, part)
        return getattr(module, name)(weights=None, **options)

    return make


def detector(name: str, **options):
    """Its lists of numbers are float32 tensors in TorchScript, whatever the model's type; so they must be in the truth."""
    make = torchvision_model("detection", name, weights_backbone=None, num_classes=CLASSES, **options)

    def with_rounded_lists():
        model = make()
        for key in ("image_mean", "image_std"):
            setattr(model.transform, key, [float(np.float32(value)) for value in getattr(model.transform, key)])
        return model

    return with_rounded_lists


def mvit():
    """torchvision fixes its size, 16 x 224 x 224."""
    from torchvision.models.video import mvit as module

    def smaller(**settings):
        return MViT(**settings | {"spatial_size": (64, 96), "temporal_size": 8})

    MViT = module.MViT
    with mock.patch.object(module, "MViT", smaller):
        return module.mvit_v1_b(num_classes=CLASSES)


def unet():
    import segmentation_models_pytorch

    return segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, classes=1)


class Tuple(nn.Module):
    """A model of transformers, its output a tuple of the logits and more."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x, return_dict=False)


def detr():
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1], layer_type="basic", out_features=["stage4"]
    )
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=32,
        encoder_layers=6, decoder_layers=6, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, num_queries=7, num_labels=CLASSES,
    )  # fmt: skip
    return Tuple(DetrForObjectDetection(config))


def ast():
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, max_length=128, num_mel_bins=64,
        frequency_stride=10, time_stride=10, num_labels=CLASSES,
    )  # fmt: skip
    return Tuple(ASTForAudioClassification(config))


def spectrogram(x):
    """The tokens of 5 x 12 patches lie in rows of a frequency; the input is [B, time, frequency]."""
    return x[:, 2:].reshape(x.size(0), 5, 12, x.size(2)).permute(0, 3, 2, 1)


PYRAMID = {"backbone": None}
ARCHITECTURES = {
    "davit_tiny": of_timm("davit_tiny", {"stages.3": None, "stages": None}, sized=False),
    "hiera_tiny_224": of_timm("hiera_tiny_224", {"blocks.11.norm1": tokens(0, 3, 4)}),
    "maxvit_rmlp_pico_rw_256": of_timm("maxvit_rmlp_pico_rw_256", {"stages.3": None, "norm": None}),
    "coatnet_pico_rw_224": of_timm("coatnet_pico_rw_224", {"stages.3": None, "norm": None}),
    "mobilevit_xxs": of_timm("mobilevit_xxs", {"final_conv": None}, sized=False),
    "pvt_v2_b0": of_timm("pvt_v2_b0", {"stages.3": None, "stages": None}, sized=False),
    "vit_small_patch14_reg4_dinov2": of_timm(
        "vit_small_patch14_reg4_dinov2", {"blocks.11.norm1": tokens(5, 6, 8)}, (84, 112)
    ),
    "vit_base_patch16_siglip_224": of_timm(
        "vit_base_patch16_siglip_224", {"blocks.11.norm1": tokens(0, 6, 8), "norm": tokens(0, 6, 8)}
    ),
    "eva02_tiny_patch14_224": of_timm("eva02_tiny_patch14_224", {"blocks.11.norm1": tokens(1, 6, 8)}, (84, 112)),
    "convnextv2_atto": of_timm("convnextv2_atto", {"stages.3": None, "stages": None}, sized=False),
    "cait_xxs24_224": of_timm(
        "cait_xxs24_224", {"blocks.23": tokens(0, 6, 8), "blocks_token_only.1.norm1": tokens(1, 6, 8)}
    ),
    "mixer_b16_224": of_timm("mixer_b16_224", {"blocks.11": tokens(0, 6, 8), "norm": tokens(0, 6, 8)}),
    "sequencer2d_s": of_timm("sequencer2d_s", {"stages.3": channels_last, "stages": channels_last, "norm": channels_last}),
    "efficientvit_b0": of_timm("efficientvit_b0", {"stages.3": None, "head.in_conv": None}, sized=False),
    "repvit_m0_9": of_timm("repvit_m0_9", {"stages.3": None, "stages": None}, sized=False),
    # PyTorch 2.13 itself corrupts its heap where this model is channels last.
    "fastvit_t8": of_timm("fastvit_t8", {"final_conv": None}, sized=False, both_layouts=False),
    "edgenext_xx_small": of_timm("edgenext_xx_small", {"stages.3": None, "stages": None}, sized=False),
    "googlenet": Architecture(
        torchvision_model("", "googlenet", num_classes=CLASSES, init_weights=False, aux_logits=True),
        (2, 3, 96, 128), {"inception5b": None}, scripted=True, output="logits",
    ),
    "inception_v3": Architecture(
        torchvision_model("", "inception_v3", num_classes=CLASSES, init_weights=False, aux_logits=True),
        (2, 3, 107, 139), {"Mixed_7c": None}, scripted=True, output="logits",
    ),
    "r3d_18": Architecture(torchvision_model("video", "r3d_18", num_classes=CLASSES), (1, 3, 16, 48, 64), {"layer4": None}),
    "swin3d_t": Architecture(
        torchvision_model("video", "swin3d_t", num_classes=CLASSES),
        (1, 3, 8, 64, 96), {"features.6.1.norm1": channels_last, "norm": channels_last},
    ),
    "mvit_v1_b": Architecture(
        mvit, (1, 3, 8, 64, 96), {"blocks.15.norm1": tokens(1, 4, 2, 3)},
    ),
    "lraspp_mobilenet_v3_large": Architecture(
        torchvision_model("segmentation", "lraspp_mobilenet_v3_large", weights_backbone=None, num_classes=CLASSES),
        (1, 3, 96, 128), {"backbone.16": None}, target="category", scripted=True, output="out", select=True,
    ),
    "unet_resnet18": Architecture(unet, (1, 3, 96, 128), {"encoder.layer4": None}, target="category",
        seed=11,  # with others a ReLU has an input within rounding of zero, and pytorch-grad-cam itself is 1e-3 off
    ),
    "retinanet_resnet50_fpn": Architecture(
        detector("retinanet_resnet50_fpn", min_size=256, max_size=384, detections_per_img=4, score_thresh=0.02),
        (1, 3, 256, 384), PYRAMID, target="boxes", scripted=True, output=1, pyramid=True, seed=8,
        spread={"head.classification_head.cls_logits.weight": 0.05},
    ),
    "fcos_resnet50_fpn": Architecture(
        detector("fcos_resnet50_fpn", min_size=256, max_size=384, detections_per_img=4, score_thresh=0.02),
        (1, 3, 256, 384), PYRAMID, target="boxes", scripted=True, output=1, pyramid=True,
        spread={"head.classification_head.cls_logits.weight": 0.05, "head.regression_head.bbox_reg.bias": 4.0},
    ),
    "ssdlite320_mobilenet_v3_large": Architecture(
        detector("ssdlite320_mobilenet_v3_large", detections_per_img=4, score_thresh=0.02),
        (1, 3, 320, 320), PYRAMID, target="boxes", scripted=True, output=1, pyramid=True,
        methods=("GradCAM",),  # pytorch-grad-cam's Eigen-CAM is of the smallest level's size: a single place
    ),
    "maskrcnn_resnet50_fpn": Architecture(
        detector("maskrcnn_resnet50_fpn", min_size=96, max_size=128, box_detections_per_img=4),
        (1, 3, 96, 128), PYRAMID, target="boxes", scripted=True, output=1, pyramid=True,
        spread={"rpn.head.cls_logits.weight": 0.05, "roi_heads.box_predictor.cls_score.weight": 0.05},
    ),
    "detr": Architecture(detr, (2, 3, 96, 128), {"model.model.encoder.layers.4": tokens(0, 3, 4), "model.model.input_projection": None}, target="query", output=0, select=True),
    "ast": Architecture(ast, (2, 128, 64), {}, output=0, select=True, refusal="ERR_NO_LAYER_SUGGESTION"),
}  # fmt: skip


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The model with its random weights, and an input."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(architecture.seed)
    model = architecture.make().eval()
    x = torch.randn(architecture.input)
    if architecture.target == "boxes":
        x = torch.rand(architecture.input)  # detectors normalise by themselves
    draw_what_is_equal(model)
    for key, parameter in model.named_parameters():
        if parameter.dim() == 2 and len(parameter) == CLASSES:
            nn.init.normal_(parameter, std=0.5)  # the gradients are far from pytorch-grad-cam's 1e-7
        if key in architecture.spread:
            nn.init.normal_(parameter, std=architecture.spread[key])
            if parameter.dim() == 1:
                parameter.data.abs_()
    fit_batch_norms(model, architecture, x)
    return model, x


@torch.no_grad()
def draw_what_is_equal(model: nn.Module) -> None:
    for parameter in model.parameters():
        first = float(parameter.flatten()[0])
        if parameter.numel() < 2 or not bool((parameter == first).all()):
            continue
        if first == 0:
            parameter.normal_(std=0.1)
        elif abs(first) < 0.1:
            parameter.uniform_(0.3, 0.8)  # LayerScale, which starts so small that a block adds nothing
        else:
            parameter.mul_(torch.empty_like(parameter).uniform_(0.7, 1.3))


def fit_batch_norms(model: nn.Module, architecture: Architecture, x: torch.Tensor) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for module in norms:
        module.momentum = None
        module.reset_running_stats()
        module.train()
    if norms:
        with torch.no_grad():
            model(torch.cat([x, x.flip(-1).roll(5, -2), x.flip(-2) * 0.7]))
    for module in norms:
        module.eval()
