"""Makes test/fixtures/clip/: tiny CLIP archives with random weights, the token ids of prompts and the heat for them.

The ResNet's archive is read back by open_clip's own loader of OpenAI's archives, and the maps are those of its model. The
ViT's maps come from pytorch-grad-cam, and LeGrad's from the definition. All are the results in double precision of the
archives' half-precision weights; `referenceError` is how far those in float32 are from them (float64_result.py).
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.openai import load_openai_model
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import v2

import family_library as library
from clip_flow import MEAN, STD, clip_map, in_double, normalize
from clip_models import (
    OpenAIClip,
    VisualTransformer,
    attention_written_out,
    fit_batch_norms,
    make_resnet_clip,
    repeat_token_embeddings,
    save_archive,
)
from float64_result import errors_of

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "test" / "fixtures" / "clip"
PHOTOS = ROOT / "examples" / "photos"
PROMPTS = ["the cat", "a dog in the snow", "Two cups of coffee!"]
TOKENIZED = [
    *PROMPTS,
    "",
    "   ",
    "A",
    "a photo of a cat",
    "A PHOTO of A Cat",
    "  many   spaces\tand\nlines \r\n",
    "it's, I'll, we've, they're, don't, I'd, I'm, IT'S",
    "x=1+2*3; 12345 3.14 1,000",
    "hello!!! what??? ... --- ###",
    "naïve café, Škoda, Ærø, straße, ÅNGSTRÖM",
    "e\u0301 combining, n\u0303 too",
    "ﬁne ﬂow oﬃce",
    "ＦＵＬＬ width，ＡＢＣ１２３",
    "“curly” ‘quotes’ don’t",
    "猫が寝ている 日本語 中文",
    "кошка на диване КОШКА",
    "ΣΊΣΥΦΟΣ ς",
    "İstanbul ı",
    "مرحبا بالعالم שלום",
    "हिन्दी में बिल्ली",
    "🐱🐶 👨‍👩‍👧‍👦 🇩🇪 👍🏽",
    "a&amp;b &lt;tag&gt; &amp;amp; &eacute; &#233; &#xe9; &nbsp;x &copy &notanentity;",
    "<b>bold</b> http://example.com/a?b=c&d=e user@example.com",
    "½ ² ① Ⅷ ٣ ৪",
    "non\u00a0breaking\u2003em\u3000ideographic",
    "zero\u200bwidth\ufeffmarks\u00adsoft",
    "control\u0001\u0007characters\u007f",
    "\u001b[31mred\u001b[0m",
    "tab\x0bvertical\x0cform\x85next\u2028line",
    "under_score snake_case CamelCase kebab-case",
    "'s 't 're 've 'm 'll 'd '",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ᾳ α\u0345 \u0345 x\u0345y",
    "P&EACUTE;REZ a &lt; b\nif x < y: &amp;lt;",
    "100% $5.99 €20 £3 #hashtag @user C++ C# don’t stop–go—now…",
    "constructor __proto__ toString hasOwnProperty",
    "word " * 75,
    "word " * 76,
    "word " * 200,
]


def photos(size: int) -> torch.Tensor:
    cut = v2.Compose([v2.Resize(size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(size)])
    files = sorted(path for path in PHOTOS.iterdir() if path.suffix in (".jpg", ".png"))
    pictures = [cut(Image.open(path).convert("RGB")) for path in files]
    pixels = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255 for picture in pictures])
    return (pixels - MEAN) / STD


class Writer:
    def __init__(self):
        self.cases = []

    def case(self, name: str, double: list[np.ndarray], single: list[np.ndarray], **facts) -> None:
        both = [{"heatmaps": np.stack([normalize(heatmap) for heatmap in maps])} for maps in (double, single)]
        facts["referenceError"] = errors_of(*both, name)
        stacked = both[0]["heatmaps"].astype("<f4")
        spread = stacked.reshape(len(stacked), -1).std(1)
        assert (spread > 0.05).all(), f"{name}: the maps say nothing, {spread}"
        stacked.tofile(FIXTURES / f"{name}.bin")
        stored = {"file": f"clip/{name}.bin", "shape": list(stacked.shape)}
        self.cases.append({"name": name, **facts, "heatmaps": stored})
        print(name, facts["referenceError"])


def write_photo(size: int) -> torch.Tensor:
    """The photo as pixels, so that nothing about resizing enters."""
    picture = v2.Compose([v2.Resize(size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(size)])(
        Image.open(PHOTOS / "chelsea.png").convert("RGB")
    )
    picture.save(FIXTURES / f"cat-{size}.png")
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    return ((pixels - MEAN) / STD)[None]


def write_resnet(writer: Writer, tokens: torch.Tensor) -> dict:
    torch.manual_seed(SEEDS["resnet"])
    model = make_resnet_clip(layers=[1, 1, 1, 1], width=4, image_size=128, embed=16, text_width=64, text_layers=1)
    nn.init.normal_(model.token_embedding.weight, std=1.0)
    repeat_token_embeddings(model, 126)
    fit_batch_norms(model, torch.cat([photos(128), photos(128).flip(3)]))
    save_archive(model, FIXTURES / "resnet.pt", deflate=True)

    single = load_openai_model(str(FIXTURES / "resnet.pt"), precision="fp32", device="cpu").eval()
    image = write_photo(128)
    both = (in_double(single), image.double()), (single, image)
    for layer, cosine, count in [("layer4", False, 3), ("layer2", False, 1), ("layer4", True, 1)]:
        maps = [
            [clip_map(clip, f"visual.{layer}", x, text, cosine).numpy() for text in clip.encode_text(tokens)[:count].detach()]
            for clip, x in both
        ]
        facts = {"model": "resnet", "layer": f"visual.{layer}", "similarity": "cosine" if cosine else "dot"}
        writer.case(f"resnet-{layer}-{facts['similarity']}", *maps, **facts, prompts=PROMPTS[:count])
    values = [embeddings(clip, x, tokens) for clip, x in both]
    return {**values[0], "referenceError": errors_of(*values, "resnet")}


def embeddings(clip: nn.Module, image: torch.Tensor, tokens: torch.Tensor) -> dict:
    with torch.no_grad():
        texts, embedding = clip.encode_text(tokens), clip.encode_image(image)
        logits = clip.get_logits(image, tokens)[0]
    return {
        "imageEmbedding": embedding[0].tolist(),
        "textEmbeddings": texts.tolist(),
        "similarities": F.cosine_similarity(embedding, texts).tolist(),
        "probabilities": logits.softmax(-1)[0].tolist(),
    }


class ImageEncoder(nn.Module):
    def __init__(self, clip: OpenAIClip):
        super().__init__()
        self.clip = clip

    def forward(self, image):
        return self.clip.encode_image(image)


def write_vit(writer: Writer, tokens: torch.Tensor) -> None:
    torch.manual_seed(SEEDS["vit"])
    visual = VisualTransformer(64, 16, width=32, layers=3, heads=4, output_dim=16)
    model = OpenAIClip(visual, 64, text_width=16, text_layers=1, text_heads=2, embed=16)
    nn.init.normal_(model.token_embedding.weight, std=1.0)
    for name, parameter in visual.named_parameters():
        if "_proj" in name and parameter.dim() == 2:  # attention that attends
            nn.init.normal_(parameter, std=0.4)
    repeat_token_embeddings(model, 500)
    save_archive(model, FIXTURES / "vit.pt", deflate=True)

    image = write_photo(64)
    facts = {"model": "vit", "similarity": "dot", "prompts": PROMPTS[:2]}
    single = model.float()
    both = (in_double(single).requires_grad_(True), image.double()), (single.requires_grad_(True), image)
    with attention_written_out():
        for method, compute in {"gradcam": gradcam, "legrad": legrad}.items():
            maps = [[compute(clip, x, text) for text in clip.encode_text(tokens)[:2].detach()] for clip, x in both]
            writer.case(f"vit-{method}", *maps, **facts, method=method)


def gradcam(model: OpenAIClip, image: torch.Tensor, text: torch.Tensor) -> np.ndarray:
    layers = ["clip.visual.transformer.resblocks.2.ln_1"]
    to_grid = lambda x: x[1:].permute(1, 2, 0).reshape(x.shape[1], -1, 4, 4)  # noqa: E731
    return library.run("GradCAM", ImageEncoder(model), layers, image, [lambda output: output @ text], to_grid)[0]


def legrad(model: OpenAIClip, image: torch.Tensor, text: torch.Tensor) -> np.ndarray:
    """The positive gradient at every attention, averaged over heads, queries and layers."""
    attentions, softmax = [], F.softmax

    def keep(*positional, **named):
        attentions.append(softmax(*positional, **named))
        return attentions[-1]

    F.softmax = keep
    try:
        score = (model.encode_image(image)[0] * text).sum()
    finally:
        F.softmax = softmax
    gradients = torch.autograd.grad(score, attentions)
    assert all(gradient.shape == (4, 17, 17) for gradient in gradients) and len(gradients) == 3
    tokens = torch.stack([gradient.clamp(min=0).mean(dim=(0, 1)) for gradient in gradients]).mean(0)
    grid = tokens[1:].reshape(1, 1, 4, 4)
    return F.interpolate(grid, image.shape[2:], mode="bilinear", align_corners=False)[0, 0].numpy()


SEEDS = {"resnet": 0, "vit": 0}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    tokenize = open_clip.SimpleTokenizer()
    tokens = tokenize(PROMPTS)
    writer = Writer()
    packages = ["torch", "open_clip_torch", "grad-cam", "ftfy"]
    golden = {
        "madeWith": {name: version(name) for name in packages},
        "prompts": PROMPTS,
        "resnet": write_resnet(writer, tokens),
        "cases": writer.cases,
        "tokens": [
            # What follows the end of the text is zero.
            {"text": text, "ids": ids[: int(ids.argmax()) + 1].tolist()}
            for text, ids in zip(TOKENIZED, tokenize(TOKENIZED), strict=True)
        ],
    }
    write_vit(writer, tokens)
    (FIXTURES / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
