"""Writes test/fixtures/transformers: small transformers and ConvNeXts of torchvision, timm and Hugging Face, exported by
export_torchscript.py with their sidecars, and pytorch-grad-cam's maps of the original models.

The index golden.json is as that of make_family_fixtures.py, expected values in double precision included; reshapeTransform is left to be inferred wherever the library
can, while pytorch-grad-cam is given the transform in full. Weights are as large as trained ones, so that classes differ.
"""

import argparse
import tempfile
from pathlib import Path

import torch
import transformers
from torch import nn

import export_torchscript as exporter
import family_library as library
from family_methods import grid_case, noise
from family_writer import Writer

FOLDER = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "transformers"
METHODS = ("GradCAM", "HiResCAM", "LayerCAM", "EigenCAM")
TARGETS = [[1], [3]]


def options(**values) -> list:
    return [argument for key, value in values.items() for argument in ("--option", f"{key}={value}")]


TIMM_VIT = options(patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=5)
TIMM_SWIN = options(img_size=64, embed_dim=24, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=5)
TIMM_CONVNEXT = options(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=5)
SQUARE, WIDE = ["--size", "64"], ["--size", "64x96"]

# name: (arguments of the exporter, layer, the library's transform, ours)
MODELS = {
    "torchvision-vit": (
        ["python:transformer_models:vit", *SQUARE],
        "encoder.layers.encoder_layer_1.ln_1",
        library.tokens(1, (8, 8)),
        "tokens",
    ),
    "torchvision-swin": (["python:transformer_models:swin", *SQUARE], "features.3.1.norm1", library.channels_last, "nhwc"),
    "torchvision-swin-v2": (["python:transformer_models:swin_v2", *SQUARE], "features.3.0", library.channels_last, "nhwc"),
    "torchvision-convnext": (["python:transformer_models:convnext", *SQUARE], "features.5", None, None),
    "timm-vit": (
        ["timm:vit_tiny_patch16_224", *TIMM_VIT, *options(img_size=64), *SQUARE],
        "blocks.1.norm1",
        library.tokens(1, (8, 8)),
        "tokens",
    ),
    "timm-vit-eager": (
        ["timm:vit_tiny_patch16_224", *TIMM_VIT, *options(img_size=64), *SQUARE, "--visible-attention", "--script"],
        "blocks.1.norm1",
        library.tokens(1, (8, 8)),
        "tokens",
    ),
    "timm-vit-wide": (
        ["timm:vit_tiny_patch16_224", *TIMM_VIT, *options(img_size=(64, 96)), *WIDE],
        "blocks.1.norm1",
        library.tokens(1, (8, 12)),
        "tokens",
    ),
    "timm-deit-distilled": (
        ["timm:deit_tiny_distilled_patch16_224", *TIMM_VIT, *options(img_size=64), *SQUARE],
        "blocks.1.norm1",
        library.tokens(2, (8, 8)),
        "tokens",
    ),
    "timm-vit-registers": (
        ["timm:vit_small_patch14_reg4_dinov2", *TIMM_VIT, *options(img_size=64), *SQUARE],
        "blocks.1.norm1",
        library.tokens(5, (8, 8)),
        "tokens",
    ),
    "timm-swin": (
        ["timm:swin_tiny_patch4_window7_224", *TIMM_SWIN, *SQUARE],
        "layers.1.blocks.1.norm1",
        library.channels_last,
        "nhwc",
    ),
    # Not stages.2: a LayerNorm over the channels follows, so that activation times gradient sums to zero at every place.
    "timm-convnext": (["timm:convnext_atto", *TIMM_CONVNEXT, "--size", "96"], "stages.3", None, None),
    "hf-swin": (
        ["hf:swin", *SQUARE],
        "model.swin.encoder.layers.1.blocks.1.layernorm_before",
        library.tokens(0, (8, 8)),
        "tokens",
    ),
}


def save_hf_swin(folder: Path) -> None:
    torch.manual_seed(0)
    names = ["tench", "tabby", "tiger cat", "lynx", "goldfish"]
    config = transformers.SwinConfig(
        image_size=64,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    transformers.SwinForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def scaled_checkpoint(arguments: list, path: Path) -> None:
    """The model's state dict with weights as large as trained ones are, and normalisations that are not trivial."""
    model = exporter.load(exporter.parse(arguments)).model
    torch.manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(std=1.2 / module.in_features**0.5)
        elif isinstance(module, nn.Conv2d):
            module.weight.data.normal_(std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, nn.LayerNorm):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.3, 0.3)
    for name, parameter in model.named_parameters():
        if name.endswith(("layer_scale", "gamma")):
            parameter.data.fill_(0.7)
        elif "pos_embed" in name or "token" in name:
            parameter.data.normal_(std=0.5)
    torch.save((model.model if isinstance(model, exporter.Logits) else model).state_dict(), path)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    single = Writer(FOLDER)
    double = single.in_double()
    double.group = "transformers"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_hf_swin(folder / "swin")
        for name, (arguments, layer, transform, reshape) in MODELS.items():
            arguments = [arguments[0].replace("hf:swin", f"hf:{folder / 'swin'}"), *arguments[1:]]
            checkpoint = folder / f"{name}.pth"
            scaled_checkpoint(arguments, checkpoint)
            arguments += ["--checkpoint", str(checkpoint)]
            exported = folder / f"{name}.pt"
            assert exporter.main([*arguments, "--name", name, "-o", str(exported)]) == 0
            sidecar = exported.with_suffix(".json").read_text().replace(str(folder / "swin"), "swin")
            (FOLDER / f"{name}.json").write_text(sidecar)
            double.files.add(f"{name}.json")
            model = exporter.load(exporter.parse(arguments)).model
            size = [int(length) for length in arguments[arguments.index("--size") + 1].split("x")]
            x = noise((2, 3, size[0], size[-1]), 201)
            how = {"options": {"reshapeTransform": reshape}} if reshape else {}
            for w in (single, double):
                w.add_model(name, model, x, exported=torch.jit.load(str(exported)))
                for method in METHODS:
                    grid_case(w, f"{name}-{method.lower()}", method, name, [layer], TARGETS, transform=transform, **how)
    double.finish()


if __name__ == "__main__":
    main()
