"""Makes test/fixtures/suggestions: small variants of known architectures, as their own libraries make them, with the layer that
a practitioner would take and its Grad-CAM.

    python tools/make_suggestion_fixtures.py

The values are plain autograd's in double precision (`referenceError`: how far its float32 run is from that), with what makes
the layer's output [B, C, ...space] written by hand.
"""

import json
import sys
import warnings
import zlib
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "compare_models"))

from architectures import Tuple, channels_last, draw_what_is_equal, tokens  # noqa: E402
from float64_result import doubled  # noqa: E402
from make_model_kind_fixtures import numbers, scaled  # noqa: E402
from torchscript_file import save_torchscript  # noqa: E402

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "suggestions"
CLASSES = 4


def mixer():
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(num_classes=CLASSES, img_size=(32, 48), patch_size=8, num_blocks=2, embed_dim=12)


def sequencer():
    from timm.models.sequencer import Sequencer2d

    return Sequencer2d(
        num_classes=CLASSES, img_size=(32, 48), layers=(1, 1), patch_sizes=(4, 2), embed_dims=(8, 12),
        hidden_sizes=(3, 3), mlp_ratios=(2.0, 2.0),
    )  # fmt: skip


def tall_patches():
    """Patches that are not square: their grid has not the shape of the image."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=(32, 48), patch_size=(8, 4), num_classes=CLASSES, embed_dim=12, depth=2, num_heads=2, mlp_ratio=2
    )


def mvit():
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    blocks = [
        MSBlockConfig(1, 8, 12, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1]),
        MSBlockConfig(2, 12, 12, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 1, 1]),
    ]
    return MViT(
        spatial_size=(32, 48), temporal_size=4, block_setting=blocks, residual_pool=False, residual_with_cls_embed=False,
        rel_pos_embed=False, proj_after_attn=False, num_classes=CLASSES,
    )  # fmt: skip


def detr():
    """More layers behind the backbone than in it, and as many queries as could be a grid of the image's shape."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=8,
        encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=8,
        decoder_ffn_dim=8, num_queries=6, num_labels=CLASSES,
    )  # fmt: skip
    return Tuple(DetrForObjectDetection(config))


class Copies(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros_like(x)
        for row in range(x.size(2)):
            y[:, :, row] = x[:, :, row]
        return y


class Coordinates(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros_like(x)
        for row in range(x.size(2)):
            y[:, :, row] = float(row)
        return y


class WritesMaps(nn.Module):
    """Two maps that are written row by row: one from the image, and behind it one that knows the image's size alone."""

    def __init__(self):
        super().__init__()
        self.conv, self.copies, self.coordinates = nn.Conv2d(3, 6, 3), Copies(), Coordinates()
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.copies(self.conv(x).relu())
        return self.head((x * self.coordinates(x)).mean((2, 3)))


class BlockOfPairs(nn.Module):
    """Attention that is written out, in a block that gives the tokens and its weights."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.q, self.k, self.v = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        y = self.norm(x)
        weights = (self.q(y) @ self.k(y).transpose(1, 2)).softmax(-1)
        return x + weights @ self.v(y), weights


class GivesPairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.b0, self.b1, self.head = nn.Conv2d(3, 12, 8, 8), BlockOfPairs(12), BlockOfPairs(12), nn.Linear(12, CLASSES)

    def forward(self, x):
        x, first = self.b0(self.stem(x).flatten(2).transpose(1, 2))
        x, second = self.b1(x)
        return self.head(x.mean(1)), first, second


# Name, model, the input's shape, the layer, what makes its output [B, C, ...space], and of several outputs which.
CASES = [
    ("mixer", mixer, (2, 3, 32, 48), "norm", tokens(0, 4, 6), None),
    ("sequencer", sequencer, (2, 3, 32, 48), "norm", channels_last, None),
    ("tall-patches", tall_patches, (2, 3, 32, 48), "blocks.1.norm1", tokens(1, 4, 12), None),
    ("mvit", mvit, (1, 3, 4, 32, 48), "blocks.1.norm1", tokens(1, 2, 4, 6), None),
    ("detr", detr, (2, 3, 32, 48), "model.model.encoder.layers.0", tokens(0, 4, 6), 0),
    ("writes-maps", WritesMaps, (2, 3, 12, 16), "copies", lambda x: x, None),
    ("gives-pairs", GivesPairs, (2, 3, 32, 48), "b1.norm", tokens(0, 4, 6), 0),
]


def grad_cam(model, layer, x, transform, output_index):
    kept = {}
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, given, output: kept.__setitem__("activation", output)
    )
    output = model(x)
    handle.remove()
    output = output if output_index is None else output[output_index]
    activation = kept["activation"][0] if isinstance(kept["activation"], tuple) else kept["activation"]
    # Of detections [B, queries, classes] the first query's.
    scores = output[:, 1] if output.dim() == 2 else output[:, 0, 1]
    (gradient,) = torch.autograd.grad(scores.sum(), activation)
    activation, gradient = transform(activation), transform(gradient)
    weights = gradient.mean(tuple(range(2, gradient.dim())), keepdim=True)
    return scaled((weights * activation).sum(1).relu().detach()), scores.detach()


def main():
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    written = []
    for name, make, shape, layer, transform, output in CASES:
        torch.manual_seed(zlib.crc32(name.encode()))
        model = make().eval()
        draw_what_is_equal(model)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.3)
        x = torch.randn(shape).round(decimals=1)
        scripted = isinstance(model, WritesMaps)
        file = torch.jit.script(model) if scripted else torch.jit.trace(model, x, check_trace=False, strict=False)
        save_torchscript(file, FOLDER / f"{name}.pt")
        maps, scores = grad_cam(doubled(model), layer, x.double(), transform, output)
        rough_maps, rough_scores = grad_cam(model, layer, x, transform, output)
        spread = float(maps.flatten(1).std(1).min())
        size = (FOLDER / f"{name}.pt").stat().st_size
        print(f"{name}: {size} bytes, spread {spread:.3f}")
        assert spread > 0.1 and size < 150_000, name
        written.append({
            "name": name,
            "layer": layer,
            "output": output,
            "input": {"shape": list(x.shape), "values": numbers(x)},
            "maps": {"shape": list(maps.shape), "values": numbers(maps)},
            "scores": numbers(scores),
            "referenceError": {
                "maps": float((rough_maps - maps).abs().max()),
                "scores": float((rough_scores - scores).abs().max()),
            },
        })
    (FOLDER / "golden.json").write_text(json.dumps({"cases": written}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
