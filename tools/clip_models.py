"""CLIP as OpenAI ships it: a TorchScript archive with encode_image and encode_text, traced in half precision on CUDA.

The parts come from open_clip; what is put together here is the structure of the archives, with random weights. No GPU is
needed: the trace is made in half precision on the CPU, and the device constants in its code are rewritten.
"""

import re
import zipfile
from contextlib import contextmanager
from pathlib import Path

import torch
from open_clip.model import convert_weights_to_lp
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import LayerNormFp32, QuickGELU, ResidualAttentionBlock
from torch import nn
from torch.nn import functional as F

from torchscript_file import save_torchscript

CONTEXT_LENGTH = 77
VOCABULARY = 49408


class VisualResNet(ModifiedResNet):
    """The image encoder, with one ReLU called three times in the stem and the cast to the weights' type."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        del self.act1, self.act2, self.act3
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = x.type(self.conv1.weight.dtype)
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = self.relu(norm(convolution(x)))
        x = self.avgpool(x)
        return self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class Block(ResidualAttentionBlock):
    """Takes [tokens, images, channels], and holds its own mask: no buffer, so that tracing makes a constant of it."""

    def __init__(self, width: int, heads: int, mask: torch.Tensor | None):
        super().__init__(width, heads, act_layer=QuickGELU, norm_layer=LayerNormFp32, batch_first=False)
        self.mask = mask

    def forward(self, x):
        mask = None if self.mask is None else self.mask.to(dtype=x.dtype, device=x.device)
        x = x + self.attention(self.ln_1(x), attn_mask=mask)
        return x + self.mlp(self.ln_2(x))


class TokenTransformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, mask: torch.Tensor | None = None):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads, mask) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


class VisualTransformer(nn.Module):
    """The image encoder of the ViT archives: a class token, then blocks over [tokens, images, channels]."""

    def __init__(self, image_size: int, patch_size: int, width: int, layers: int, heads: int, output_dim: int):
        super().__init__()
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn((image_size // patch_size) ** 2 + 1, width))
        self.ln_pre = LayerNormFp32(width)
        self.transformer = TokenTransformer(width, layers, heads)
        self.ln_post = LayerNormFp32(width)
        self.proj = nn.Parameter(scale * torch.randn(width, output_dim))

    def forward(self, x):
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        zeros = torch.zeros(x.shape[0], 1, x.shape[-1], dtype=x.dtype, device=x.device)
        x = torch.cat([self.class_embedding.to(x.dtype) + zeros, x], dim=1)
        x = self.ln_pre(x + self.positional_embedding.to(x.dtype)).permute(1, 0, 2)
        return self.ln_post(self.transformer(x).permute(1, 0, 2)[:, 0, :]) @ self.proj


class OpenAIClip(nn.Module):
    def __init__(self, visual: nn.Module, image_size: int, text_width: int, text_layers: int, text_heads: int, embed: int):
        super().__init__()
        self.visual = visual
        mask = torch.full((CONTEXT_LENGTH, CONTEXT_LENGTH), float("-inf")).triu_(1)
        self.transformer = TokenTransformer(text_width, text_layers, text_heads, mask)
        self.token_embedding = nn.Embedding(VOCABULARY, text_width)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT_LENGTH, text_width) * 0.01)
        self.ln_final = LayerNormFp32(text_width)
        self.text_projection = nn.Parameter(torch.randn(text_width, embed) * text_width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.register_buffer("input_resolution", torch.tensor(image_size))
        self.register_buffer("context_length", torch.tensor(CONTEXT_LENGTH))
        self.register_buffer("vocab_size", torch.tensor(VOCABULARY))

    @property
    def dtype(self):
        return self.visual.conv1.weight.dtype

    def encode_image(self, image):
        return self.visual(image.type(self.dtype))

    def encode_text(self, text):
        x = self.token_embedding(text).type(self.dtype) + self.positional_embedding.type(self.dtype)
        x = self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = self.ln_final(x).type(self.dtype)
        return x[torch.arange(x.shape[0]), text.argmax(dim=-1)] @ self.text_projection

    def forward(self, image, text):
        image_features, text_features = self.encode_image(image), self.encode_text(text)
        image_features = image_features / image_features.norm(dim=-1, keepdim=True)
        text_features = text_features / text_features.norm(dim=-1, keepdim=True)
        logits = self.logit_scale.exp() * image_features @ text_features.t()
        return logits, logits.t()


@contextmanager
def attention_written_out():
    """Attention as products and a softmax, as the PyTorch of the archives had it, not as one fused operation."""
    fused = F.multi_head_attention_forward

    def written_out(*positional, **named):
        return fused(*positional, **{**named, "need_weights": True})

    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    F.multi_head_attention_forward = written_out
    try:
        yield
    finally:
        F.multi_head_attention_forward = fused
        torch.backends.mha.set_fastpath_enabled(fastpath)


def make_resnet_clip(
    *, layers: list[int], width: int, image_size: int, embed: int, text_width: int, text_layers: int
) -> OpenAIClip:
    """Random weights. Attention heads are 64 channels wide, as OpenAI's.

    Every block adds something, but less than it is given, as in trained networks: where all weighs the same, a ReLU that
    flips through rounding shows in the gradients of early layers.
    """
    visual = VisualResNet(
        layers=layers, output_dim=embed, heads=width * 32 // 64, image_size=image_size, width=width
    )
    for name, parameter in visual.named_parameters():
        if ".bn" in name or name.startswith("bn") or "downsample.1" in name:
            scale = 0.2 if ".bn3." in name else 1.0
            nn.init.normal_(parameter, mean=scale if name.endswith("weight") else 0.0, std=0.2 * scale)
    return OpenAIClip(visual, image_size, text_width, text_layers, text_width // 64, embed)


def repeat_token_embeddings(model: OpenAIClip, period: int) -> None:
    """Gives tokens `period` apart one embedding, so that the file can be compressed: a period within 32 KiB, as deflate needs."""
    table = model.token_embedding.weight.data
    table.copy_(table[:period].repeat(VOCABULARY // period + 1, 1)[:VOCABULARY])


def fit_batch_norms(model: OpenAIClip, images: torch.Tensor) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        model.encode_image(images)
    model.eval()


def save_archive(model: OpenAIClip, path: Path, deflate: bool = False) -> None:
    """Converts the weights as OpenAI's did, traces the three methods and makes the device constants CUDA's."""
    model = model.eval().requires_grad_(False)
    convert_weights_to_lp(model, torch.float16)
    model.text_projection.data = model.text_projection.data.half()
    if isinstance(model.visual, VisualTransformer):
        model.visual.proj.data = model.visual.proj.data.half()
    size = model.input_resolution.item()
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    text = torch.zeros(2, CONTEXT_LENGTH, dtype=torch.int64)
    text[:, :3] = torch.tensor([VOCABULARY - 2, 320, VOCABULARY - 1])
    inputs = {"forward": (image, text), "encode_image": (image,), "encode_text": (text,)}
    with attention_written_out(), torch.no_grad():
        traced = torch.jit.trace_module(model, inputs, check_trace=False)
    save_torchscript(traced, path)
    rewrite_devices(path, deflate)


def rewrite_devices(path: Path, deflate: bool) -> None:
    with zipfile.ZipFile(path) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    changed = 0
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records:
            if name.endswith(".py"):
                lines = data.decode().split("\n")
                for index, line in enumerate(lines):
                    # torch.arange() without a device stays on the CPU in a trace made on CUDA too.
                    if "torch.arange" not in line:
                        lines[index], count = re.subn(r'torch\.device\("cpu"\)', 'torch.device("cuda:0")', line)
                        changed += count
                data = "\n".join(lines).encode()
            elif name.endswith(".pkl"):
                # Where each tensor was: pickled strings, a tag and their length before them.
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED, 9)
    assert changed > 0, "the trace holds no device constants"
