"""Cases: transformers, and LeGrad."""

import torch
import torchvision
from pytorch_grad_cam.ablation_layer import AblationLayerVit
from torchcam.methods import LeGrad

import family_library as library
import family_models as models
import family_reference as reference
from family_methods import BY_HAND, LIBRARY, PLAIN, PROJECTED, grid_case, noise

ON_TOKENS = PLAIN + PROJECTED
FEW = ("GradCAM", "LayerCAM", "GradCAMPlusPlus", "EigenCAM")


def transformers(w) -> None:
    both = [[1], [3]]
    known = {
        "vit": (["blocks.1.norm1"], library.tokens(1, (6, 6)), {"kind": "tokens", "prefixTokens": 1}),
        "swin-tokens": (
            ["blocks.1.norm1"],
            library.tokens(0, (6, 8)),
            {"kind": "tokens", "prefixTokens": 0, "grid": [6, 8]},
        ),
        "swin-spatial": (["blocks.1.norm1"], library.channels_last, {"kind": "nhwc"}),
    }
    for model, (layers, transform, spec) in known.items():
        options = {"reshapeTransform": spec}
        for method in ON_TOKENS:
            if model != "swin-spatial" or method in FEW:
                grid_case(
                    w, f"{model}-{method.lower()}", method, model, layers, both, transform=transform, options=options
                )
        _, module, x = w.models[model]
        aims = library.new_targets(both)
        w.case(
            f"{model}-scorecam",
            "ScoreCAM of tokens",
            "ScoreCAM",
            model,
            layers=layers,
            targets=both,
            options=options,
            heatmaps=library.run("ScoreCAM", module, layers, x, aims, transform),
            check=reference.score_cam(module, layers[0], x, aims, transform),
            source=LIBRARY,
        )
        rest = [[{"kind": "ClassifierOutputReST", "category": c}] for (c,) in both]
        aims = library.new_targets(rest)
        w.case(
            f"{model}-shapleycam",
            "ShapleyCAM of tokens, where upstream fails",
            "ShapleyCAM",
            model,
            layers=layers,
            targets=rest,
            options=options,
            heatmaps=reference.shapley(module, layers, x, aims, transform),
            source=BY_HAND,
        )
    several = {
        "vit-distilled": (library.tokens(2, (6, 8)), {"kind": "tokens", "prefixTokens": 2, "grid": [6, 8]}, both),
        "vit-registers": (library.tokens(5, (6, 6)), {"kind": "tokens", "prefixTokens": 5}, both),
        "vit-fused": (library.tokens(1, (6, 6)), {"kind": "tokens", "prefixTokens": 1}, both),
    }
    for model, (transform, spec, targets) in several.items():
        for method in ("GradCAM", "HiResCAM"):
            grid_case(
                w,
                f"{model}-{method.lower()}",
                method,
                model,
                ["blocks.1.norm1"],
                targets,
                transform=transform,
                options={"reshapeTransform": spec},
            )
    _, module, x = w.models["vit-relu"]
    layer, transform, aims = "blocks.0.mlp.act", library.tokens(1, (6, 6)), library.new_targets(both)
    maps = library.run(
        "AblationCAM",
        module,
        [layer],
        x,
        aims,
        transform,
        constructor={"ablation_layer": AblationLayerVit(), "batch_size": 7},
    )
    w.case(
        "vit-relu-ablationcam",
        "AblationCAM of tokens: a channel of all tokens, prefix included, becomes 0",
        "AblationCAM",
        "vit-relu",
        layers=[layer],
        targets=both,
        options={"reshapeTransform": {"kind": "tokens", "prefixTokens": 1}},
        heatmaps=maps,
        check=reference.ablation_cam(module, layer, x, aims, transform, channel_axis=2),
        source=LIBRARY,
    )


def attention_gradients(model, x, classes, per_layer):
    """Of each block, the gradient of its score with respect to its softmax, [B, heads, queries, keys]."""
    kept, tokens = {}, {}
    handles = []
    for i, block in enumerate(model.blocks):
        handles.append(block.attn.attn_drop.register_forward_hook(lambda _m, _i, out, i=i: kept.update({i: out})))
        handles.append(block.register_forward_hook(lambda _m, _i, out, i=i: tokens.update({i: out})))
    outputs = model(x)
    for handle in handles:
        handle.remove()
    gradients = []
    for i in range(len(model.blocks)):
        scores = model.head(model.norm(tokens[i].mean(1))) if per_layer else outputs
        total = sum(scores[row, c] for row, c in enumerate(classes))
        gradients.append(torch.autograd.grad(total, kept[i], retain_graph=True)[0])
    return gradients


def torch_cams_le_grad(model, x, classes):
    """The real torch-cam on torchvision's ViT with this model's weights; None if its output is another."""
    twin = torchvision.models.VisionTransformer(24, 4, 2, 2, 16, 32, num_classes=5).eval()
    state = model.state_dict()
    mine = {"class_token": state["prefix"], "encoder.pos_embedding": state["pos"]}
    pairs = {"conv_proj": "patch", "encoder.ln": "norm", "heads.head": "head"}
    for i in range(2):
        there, here = f"encoder.layers.encoder_layer_{i}", f"blocks.{i}"
        pairs |= {
            f"{there}.ln_1": f"{here}.norm1",
            f"{there}.ln_2": f"{here}.norm2",
            f"{there}.mlp.0": f"{here}.mlp.fc1",
            f"{there}.mlp.3": f"{here}.mlp.fc2",
            f"{there}.self_attention.out_proj": f"{here}.attn.proj",
        }
        for part in ("weight", "bias"):
            mine[f"{there}.self_attention.in_proj_{part}"] = state[f"{here}.attn.qkv.{part}"]
    mine |= {f"{there}.{part}": state[f"{here}.{part}"] for there, here in pairs.items() for part in ("weight", "bias")}
    twin.to(x.dtype).load_state_dict(mine)
    assert (twin(x) - model(x)).abs().max() < 1e-5
    with LeGrad(twin, [f"encoder.layers.encoder_layer_{i}" for i in range(2)]) as extractor:
        scores = twin(x)
        return extractor(classes, scores)[0]


def le_grad(w) -> None:
    _, model, x = w.models["vit"]
    classes = [1, 3]
    for name, per_layer in {"legrad": True, "legrad-final-score": False}.items():
        gradients = attention_gradients(model, x, classes, per_layer)
        raw = torch.stack([g.clamp(min=0).mean((1, 2))[:, 1:] for g in gradients]).mean(0).reshape(2, 6, 6)
        if per_layer:
            assert (reference.unit(raw) - torch_cams_le_grad(model, x, classes)).abs().max() < 1e-5
        w.case(
            f"vit-{name}",
            "positive gradients of the softmax, mean over heads, queries and then blocks; "
            + (
                "of each block's own score head(norm(mean of its tokens)), as torch-cam does (checked against it)"
                if per_layer
                else "of the model's own score"
            ),
            "LeGrad",
            "vit",
            layers=["blocks.0", "blocks.1"],
            targets=[[c] for c in classes],
            heatmaps=reference.heatmaps([raw], x.shape[2:]),
            expected={"raw": raw},
            options={"prefixTokens": 1, **({"norm": "norm", "head": "head"} if per_layer else {})},
            source=BY_HAND,
        )


def write(w) -> None:
    w.group = "transformers"
    for name, build, shape in (
        ("vit", models.Vit, (2, 3, 24, 24)),
        ("vit-distilled", lambda: models.Vit((6, 8), 2, distilled=True), (2, 3, 24, 32)),
        ("vit-registers", lambda: models.Vit((6, 6), 5), (2, 3, 24, 24)),
        ("vit-fused", lambda: models.Vit(fused=True), (2, 3, 24, 24)),
        ("vit-relu", lambda: models.Vit(relu=True), (2, 3, 24, 24)),
        ("swin-tokens", lambda: models.Swin(False), (2, 3, 24, 32)),
        ("swin-spatial", lambda: models.Swin(True), (2, 3, 24, 32)),
    ):
        w.add_model(name, models.seeded(build, 3, linear=2.0), noise(shape, 201))
    transformers(w)
    le_grad(w)
