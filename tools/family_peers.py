"""Cases: gradients of the input, deep feature factorization, and the methods of torch-cam and Captum."""

import numpy as np
from captum.attr import IntegratedGradients, Saliency
from pytorch_grad_cam import DeepFeatureFactorization, GuidedBackpropReLUModel
from sklearn.decomposition import NMF
from torchcam.methods import CAM, SmoothGradCAMpp

import family_library as library
import family_models as models
import family_reference as reference
from family_methods import BY_HAND, LAST, LIBRARY, TARGETS, noise


def factorization(w) -> None:
    _, model, x = w.models["resnet"]
    layer = model.get_submodule(LAST[0])
    dff = DeepFeatureFactorization(model, layer, computation_on_concepts=model.fc)
    with library.precision(w.dtype):
        concepts, explanations, outputs = dff(x, n_components=3)
    kept = []
    handle = layer.register_forward_hook(lambda _m, _i, out: kept.append(out.detach().numpy()))
    model(x)
    handle.remove()
    flat = kept[0].transpose(1, 0, 2, 3).reshape(12, -1)
    flat = flat - flat.min(1, keepdims=True)
    mean = np.sqrt(flat.mean() / 3)
    draw = np.random.RandomState(0)
    # In scikit-learn's order: first the components, then the concepts.
    start_h = np.abs(mean * draw.standard_normal(size=(3, flat.shape[1]))).astype(np.float32)
    start_w = np.abs(mean * draw.standard_normal(size=(12, 3))).astype(np.float32)
    again = NMF(3, init="custom", random_state=0)
    found = again.fit_transform(flat, W=start_w.astype(flat.dtype), H=start_h.astype(flat.dtype))
    offset = kept[0].transpose(1, 0, 2, 3).reshape(12, -1).min(1)
    assert np.abs(found + offset[:, None] - concepts).max() < 1e-5, "the start is not scikit-learn's"
    w.case(
        "resnet-dff",
        "3 concepts of both images together; the result is fixed by the start (order and scale of the "
        "concepts too). Coordinate descent, Frobenius, tol 1e-4, at most 200 rounds",
        "DeepFeatureFactorization",
        "resnet",
        layers=LAST,
        options={"components": 3, "startConcepts": start_w, "startExplanations": start_h},
        expected={
            "concepts": concepts,
            "explanations": np.stack(explanations),
            "conceptOutputs": outputs,
            "reconstructionError": float(again.reconstruction_err_),
            "iterations": int(again.n_iter_),
        },
        computationOnConcepts="fc",
        source=LIBRARY,
    )


def input_gradients(w) -> None:
    for name in ("resnet", "functional"):
        _, model, x = w.models[name]
        given = model
        if name == "functional":
            given = models.FunctionalRelu(modules=True).to(w.dtype).eval()
            given.load_state_dict(model.state_dict())
        layer = "layer2.0" if name == "resnet" else "conv1"
        guided = np.stack(
            [
                GuidedBackpropReLUModel(given)(x[i : i + 1].clone(), c).transpose(2, 0, 1)
                for i, (c,) in enumerate(TARGETS)
            ]
        )
        maps = library.run("GradCAM", given, [layer], x, library.new_targets(TARGETS))
        product = maps[:, None] * guided
        w.case(
            f"{name}-guided-backprop",
            "gradients of the input through guided ReLUs"
            + (", functional ones too (pytorch-grad-cam got a twin with modules)" if name == "functional" else ""),
            "GuidedBackprop",
            name,
            targets=TARGETS,
            expected={"gradients": guided},
            source=LIBRARY,
        )
        w.case(
            f"{name}-guided-grad-cam",
            "GradCAM's heatmap times the guided gradients",
            "GuidedGradCAM",
            name,
            layers=[layer],
            targets=TARGETS,
            expected={"product": product},
            source=LIBRARY,
        )
    _, model, x = w.models["relu6"]
    guided = reference.guided_backprop_relu6(model, x, [c for (c,) in TARGETS])
    w.case(
        "relu6-guided-backprop",
        "ReLU6 passes a gradient where it is positive and the input between 0 and 6",
        "GuidedBackprop",
        "relu6",
        targets=TARGETS,
        expected={"gradients": guided},
        source=BY_HAND,
    )
    _, model, x = w.models["resnet"]
    classes = [c for (c,) in TARGETS]
    for method in ("gausslegendre", "riemann_trapezoid"):
        for suffix, baseline in {"": 0.0, "-baseline": 0.25}.items():
            found, delta = IntegratedGradients(model).attribute(
                x, baseline, classes, n_steps=20, method=method, return_convergence_delta=True
            )
            w.case(
                f"resnet-integrated-gradients-{method}{suffix}",
                f"20 steps, baseline {baseline}",
                "IntegratedGradients",
                "resnet",
                targets=TARGETS,
                options={"steps": 20, "method": method, "baseline": baseline},
                expected={"attributions": found, "convergenceDelta": delta.tolist()},
                source="captum",
            )
    for absolute in (True, False):
        found = Saliency(model).attribute(x, classes, abs=absolute)
        w.case(
            f"resnet-saliency{'' if absolute else '-signed'}",
            "the gradient of the input",
            "Saliency",
            "resnet",
            targets=TARGETS,
            options={"absolute": absolute},
            expected={"attributions": found},
            source="captum",
        )


def torch_cam(w) -> None:
    _, model, x = w.models["resnet"]
    classes = [c for (c,) in TARGETS]
    with CAM(model, "layer2.1", "fc") as extractor:
        scores = model(x)
        (raw,) = extractor(classes, scores, normalized=False)
    maps = reference.heatmaps([raw], x.shape[2:])
    w.case(
        "resnet-cam",
        "plain CAM: the linear layer's weights times the activations; then as every method",
        "CAM",
        "resnet",
        layers=["layer2.1"],
        targets=TARGETS,
        options={"linear": "fc"},
        heatmaps=maps,
        check=library.run("GradCAM", model, ["layer2.1"], x, library.new_targets(TARGETS)),
        expected={"raw": raw},
        source="torch-cam, scaled as pytorch-grad-cam does",
    )
    copies = noise((3, *x.shape), 7) * 0.3
    for name, layer in {"last": "layer2.0", "first": "layer1.0"}.items():
        with SmoothGradCAMpp(model, layer, num_samples=3, std=0.3, input_shape=(3, 24, 32)) as extractor:
            following = iter(copies)
            extractor._distrib.sample = lambda _size, take=following: next(take)
            scores = model(x)
            (raw,) = extractor(classes, scores, normalized=False)
        maps = reference.smooth_grad_cam_pp(model, layer, x, library.new_targets(TARGETS), copies)
        upstream = reference.heatmaps([raw.detach()], x.shape[2:])
        print("   torch-cam's own", float((upstream - maps).abs().max()))
        w.case(
            f"resnet-smoothgradcamplusplus-{name}",
            "3 noisy copies, the noise given. torch-cam's own (`upstream`) weighs "
            "the last copy's activations and takes the last copy's ReLU(gradient)",
            "SmoothGradCAMPlusPlus",
            "resnet",
            layers=[layer],
            targets=TARGETS,
            options={"noise": copies} if name == "last" else {"noise": None},
            heatmaps=maps,
            expected={"upstream": upstream},
            source=BY_HAND,
        )
        if name == "first" and w.single:  # the file is written once
            w.cases[-1]["options"] = w.cases[-2]["options"]


def write(w) -> None:
    w.group = "peers"
    w.add_model("relu6", models.seeded(models.ClippedRelu, 5), noise((2, 3, 24, 32), 107))
    w.add_model("functional", models.seeded(models.FunctionalRelu, 3), noise((2, 3, 24, 32), 103))
    factorization(w)
    input_gradients(w)
    torch_cam(w)
