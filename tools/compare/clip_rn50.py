"""Compares ClipExplainer with the arithmetic people write by hand, on an archive of RN50's shape as OpenAI ships it.

The weights are random: the real ones are OpenAI's to download; `--archive RN50.pt` takes them. Both sides read the same
file, the reference through open_clip's loader of OpenAI's archives, and the maps are compared as they are and blurred as
they are drawn. In float64 they must agree to 1e-5; in float32 ours must be at most four times as far from the reference in
float64 as the reference in float32 is, plus 1e-5. At early layers of a random network that is far: a ReLU that flips
through rounding shows.

Needs the built library (`npm run build`) and `node` on the path. Exits with 1 if something differs by more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.openai import load_openai_model
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from clip_models import fit_batch_norms, make_resnet_clip, save_archive
from tools.fixtures.architectures.clip_flow import MEAN, STD, blurred, clip_map, in_double, normalize
from tools.fixtures.shared.float64_result import allowed_error, in_float32

ROOT = Path(__file__).resolve().parents[2]
LARGEST_FLOAT64_ERROR = 1e-5
PROMPTS = ["the cat", "a dog on the grass", "two cups of coffee"]
LAYERS = ["layer4", "layer3", "layer2", "layer1"]

# Run in the repository's root, where the package finds itself by name.
NODE_SCRIPT = """
import { readFileSync, writeFileSync } from 'node:fs';
import { ClipExplainer, loadModel, Tensor } from 'node-gradcam';

const [modelPath, inputPath, folder, size, prompts, layers] = process.argv.slice(1);
const bytes = readFileSync(inputPath);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
for (const dtype of ['float64', 'float32']) {
  const model = await loadModel(modelPath, { dtype });
  for (const layer of JSON.parse(layers)) {
    const clip = new ClipExplainer({ model, targetLayers: `visual.${layer}` });
    for (const similarity of ['dot', 'cosine']) {
      const input = Tensor.from(values, [1, 3, Number(size), Number(size)]);
      const result = await clip.explain(input, JSON.parse(prompts), { similarity });
      writeFileSync(`${folder}/${layer}-${similarity}-${dtype}.bin`, result.heatmaps.toTypedArray());
    }
  }
  await model.dispose();
}
"""


def make_archive(path: Path) -> None:
    torch.manual_seed(0)
    model = make_resnet_clip(
        layers=[3, 4, 6, 3], width=64, image_size=224, embed=1024, text_width=512, text_layers=12
    )
    nn.init.normal_(model.token_embedding.weight, std=0.3)
    fit_batch_norms(model, torch.cat([photo(224), photo(224).flip(2), torch.randn(2, 3, 224, 224)]))
    save_archive(model, path)


def photo(size: int) -> torch.Tensor:
    picture = Image.open(ROOT / "examples" / "photos" / "chelsea.png").convert("RGB")
    cut = v2.Compose([v2.Resize(size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(size)])
    return ((torch.from_numpy(np.array(cut(picture))).permute(2, 0, 1) / 255 - MEAN) / STD)[None]


def run_node(archive: Path, image: torch.Tensor, folder: Path) -> None:
    image.numpy().astype("<f4").tofile(folder / "input.bin")
    arguments = [str(archive), str(folder / "input.bin"), str(folder), str(image.shape[-1])]
    arguments += [json.dumps(PROMPTS), json.dumps(LAYERS)]
    subprocess.run(["node", "--input-type=module", "--eval", NODE_SCRIPT, "--", *arguments], cwd=ROOT, check=True)


def reference_maps(clip: nn.Module, image: torch.Tensor, tokens: torch.Tensor) -> dict[tuple[str, str], np.ndarray]:
    """By layer and similarity: [prompts, H, W], not normalised."""
    with torch.no_grad():
        texts = clip.encode_text(tokens)
    return {
        (layer, similarity): np.stack(
            [clip_map(clip, f"visual.{layer}", image, text, similarity == "cosine").numpy() for text in texts]
        )
        for layer in LAYERS
        for similarity in ("dot", "cosine")
    }


def largest_difference(maps: np.ndarray, expected: np.ndarray) -> float:
    """Of maps as they are and blurred, each normalised."""
    differences = [
        np.abs(way(ours) - way(theirs)).max()
        for ours, theirs in zip(maps, expected, strict=True)
        for way in (normalize, blurred)
    ]
    return float(np.max(differences))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="a ResNet CLIP as OpenAI ships it (default: one with random weights)")
    parser.add_argument("--threads", type=int, default=2, help="threads for PyTorch (default: 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = arguments.archive
        if archive is None:
            archive = folder / "RN50.pt"
            make_archive(archive)
        print(f"{archive.name}: {archive.stat().st_size / 1e6:.0f} MB")
        clip = load_openai_model(str(archive.resolve()), precision="fp32", device="cpu").eval()
        size = clip.visual.image_size
        image = photo(size if isinstance(size, int) else size[0])
        tokens = open_clip.SimpleTokenizer()(PROMPTS)
        run_node(archive.resolve(), image, folder)
        double = reference_maps(in_double(clip), image.double(), tokens)
        singles = in_float32(lambda module, x: reference_maps(module, x, tokens), clip, image)
        print("largest differences from float64   ours in float64   ours   the reference's own")
        for (layer, similarity), expected in double.items():
            ours = {
                dtype: np.fromfile(folder / f"{layer}-{similarity}-{dtype}.bin", "<f4").reshape(expected.shape)
                for dtype in ("float64", "float32")
            }
            in_float64 = largest_difference(ours["float64"], expected)
            in_float32 = largest_difference(ours["float32"], expected)
            own = max(largest_difference(maps[layer, similarity], expected) for maps in singles)
            fails = not (in_float64 <= LARGEST_FLOAT64_ERROR and in_float32 <= allowed_error(own))  # NaN fails
            failed = failed or fails
            spread = np.min([normalize(each).std() for each in expected])
            assert spread > 0.03, "a map says nothing"
            figures = f"{in_float64:.1e}           {in_float32:.1e}   {own:.1e}"
            print(f"  {layer} {similarity:6}                    {figures}{'  FAILS' if fails else ''}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
