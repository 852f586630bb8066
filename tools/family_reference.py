"""The family's formulas, by hand: any number of spatial axes, and nothing of pytorch-grad-cam. They compute in the type of
the model and input that they are given.

They check the library where it can run (make_family_fixtures.py compares the two) and stand in where it cannot.
"""

import torch
import torch.nn.functional as F
from torch import nn

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def space(x: torch.Tensor) -> tuple:
    return tuple(range(2, x.dim()))


def wide(weights: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return weights.reshape(*weights.shape, *[1] * (like.dim() - weights.dim()))


def unit(maps: torch.Tensor) -> torch.Tensor:
    """[N, ...space]: minus the minimum, divided by 1e-7 + the maximum."""
    axes = tuple(range(1, maps.dim()))
    maps = maps - maps.amin(axes, keepdim=True)
    return maps / (1e-7 + maps.amax(axes, keepdim=True))


def resize(maps: torch.Tensor, size, align_corners: bool = False) -> torch.Tensor:
    """[N, C, ...space] -> [N, C, ...size]"""
    return F.interpolate(maps, size=tuple(size), mode=LINEAR[maps.dim() - 2], align_corners=align_corners)


def heatmaps(raw_maps, size) -> torch.Tensor:
    """Per layer ReLU, scale, resize; then the mean over layers; then scale."""
    layers = [resize(unit(raw.clamp(min=0))[:, None], size)[:, 0] for raw in raw_maps]
    return unit(torch.stack(layers).clamp(min=0).mean(0))


def largest_positive(maps: torch.Tensor) -> torch.Tensor:
    """The sign rule: of the two extremes, the one of larger magnitude is positive."""
    axes = tuple(range(1, maps.dim()))
    flip = maps.amin(axes, keepdim=True).abs() > maps.amax(axes, keepdim=True).abs()
    return torch.where(flip, -maps, maps)


def principal(weighted: torch.Tensor) -> torch.Tensor:
    """[B, C, ...space] -> [B, ...space]: each position's coordinate on the first principal component."""
    positions = weighted.nan_to_num(nan=0.0, posinf=float("inf"), neginf=float("-inf")).flatten(2).transpose(1, 2)
    centred = positions - positions.mean(1, keepdim=True)
    vectors, lengths, _ = torch.linalg.svd(centred, full_matrices=False)
    maps = (vectors[:, :, 0] * lengths[:, :1]).reshape(weighted.shape[0], *weighted.shape[2:])
    return largest_positive(maps)


def kernel_principal(a: torch.Tensor, gamma=None, coef0: float = 1.0) -> torch.Tensor:
    """Kernel PCA of the centred positions, sigmoid kernel tanh(gamma x.y + coef0), gamma = 1 / channels."""
    positions = a.flatten(2).transpose(1, 2)
    centred = positions - positions.mean(1, keepdim=True)
    kernel = torch.tanh((gamma or 1 / a.shape[1]) * (centred @ centred.transpose(1, 2)) + coef0)
    kernel = kernel - kernel.mean(1, keepdim=True) - kernel.mean(2, keepdim=True) + kernel.mean((1, 2), keepdim=True)
    values, vectors = torch.linalg.eigh(kernel)
    coordinates = vectors[:, :, -1] * values[:, -1:].sqrt()
    return largest_positive(coordinates.reshape(a.shape[0], *a.shape[2:]))


def weights_of(method: str, a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """[B, C], of the methods that weigh channels."""
    axes = space(a)
    if method == "GradCAM":
        return g.mean(axes)
    if method == "GradCAMPlusPlus":
        alpha = g**2 / (2 * g**2 + a.sum(axes, keepdim=True) * g**3 + 1e-6)
        return (g.clamp(min=0) * torch.where(g != 0, alpha, 0.0)).sum(axes)
    if method == "XGradCAM":
        return (g * a / (a.sum(axes, keepdim=True) + 1e-7)).sum(axes)
    if method == "FEM":
        threshold = a.mean(axes, keepdim=True) + 2 * a.std(axes, keepdim=True, correction=0)
        return (a > threshold).to(a.dtype).mean(axes)
    raise KeyError(method)


def raw_map(method: str, a: torch.Tensor, g: torch.Tensor, eigen_smooth=False) -> torch.Tensor:
    """[B, ...space], before ReLU and scaling."""
    if method == "EigenCAM":
        return principal(a)
    if method == "EigenGradCAM":
        return principal(g * a)
    if method == "SegEigenCAM":
        return principal(g.abs() * a)
    if method == "KPCACAM":
        return kernel_principal(a)
    if method == "HiResCAM":
        weighted = g * a
    elif method == "GradCAMElementWise":
        weighted = (g * a).clamp(min=0)
    elif method == "LayerCAM":
        weighted = g.clamp(min=0) * a
    else:
        weighted = wide(weights_of(method, a, g), a) * a
    return principal(weighted) if eigen_smooth and method != "FEM" else weighted.sum(1)


def total(targets, outputs):
    """The sum of each image's target. `outputs` is what the model gives for the batch: rows, or a list."""
    return sum(target(output).sum() for target, output in zip(targets, outputs, strict=True))


def capture(model, layers, x, targets, transform=None, create_graph=False):
    """The layers' outputs, their gradients and the model's output, untransformed tensors kept in the graph."""
    kept = {}
    handles = [
        model.get_submodule(path).register_forward_hook(lambda _m, _i, out, p=path: kept.update({p: out}))
        for path in layers
    ]
    outputs = model(x)
    for handle in handles:
        handle.remove()
    activations = [kept[path] for path in layers]
    gradients = torch.autograd.grad(total(targets, outputs), activations, create_graph=create_graph)
    return activations, list(gradients), outputs


def explain(method, model, layers, x, targets, transform=None, eigen_smooth=False) -> torch.Tensor:
    """Heatmaps, of one of the methods that need activations and gradients only."""
    keep = transform or (lambda t: t)
    activations, gradients, _ = capture(model, layers, x, targets)
    raws = [
        raw_map(method, keep(a.detach()), keep(g), eigen_smooth) for a, g in zip(activations, gradients)
    ]
    return heatmaps(raws, x.shape[2:])


def shapley(model, layers, x, targets, transform=None) -> torch.Tensor:
    """Weights: the mean of (gradient - half the Hessian of the target times the activation)."""
    keep = transform or (lambda t: t)
    activations, gradients, _ = capture(model, layers, x, targets, create_graph=True)
    raws = []
    for a, g in zip(activations, gradients):
        (product,) = torch.autograd.grad(g, a, a.detach(), retain_graph=True, allow_unused=True)
        whole = g if product is None else g - 0.5 * product
        a, whole = keep(a.detach()), keep(whole.detach())
        raws.append((wide(whole.mean(space(whole)), a) * a).sum(1))
    return heatmaps(raws, x.shape[2:])


def score_cam(model, layer, x, targets, transform=None) -> torch.Tensor:
    """Masks with align_corners=True, scaled with 1e-8; weights: softmax over channels of the raw scores."""
    keep = transform or (lambda t: t)
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, out: kept.append(out))
    with torch.no_grad():
        model(x)
        handle.remove()
        a = keep(kept[0])
        masks = resize(a, x.shape[2:], align_corners=True)
        low, high = masks.amin(space(masks), keepdim=True), masks.amax(space(masks), keepdim=True)
        masks = (masks - low) / (high - low + 1e-8)
        scores = torch.stack(
            [
                torch.stack([target(o).sum() for o in model(image[None] * mask[:, None])])
                for target, image, mask in zip(targets, x, masks)
            ]
        )
        return heatmaps([(wide(scores.softmax(1), a) * a).sum(1)], x.shape[2:])


def ablation_cam(model, layer, x, targets, transform=None, channel_axis=1) -> torch.Tensor:
    """Weight: (score - score without the channel) / score. The channel becomes 0 where the image's activation has
    the minimum 0, else the minimum - 1e7."""
    keep = transform or (lambda t: t)
    module, weights, kept = model.get_submodule(layer), [], []
    with torch.no_grad():
        for target, image in zip(targets, x):
            one = []
            handle = module.register_forward_hook(lambda _m, _i, out: one.append(out))
            score = target(model(image[None])[0]).sum()
            handle.remove()
            a = one[0]
            fill = 0.0 if a.min() == 0 else a.min() - 1e7
            row = []
            for channel in range(a.shape[channel_axis]):
                without = a.clone()
                without.select(channel_axis, channel).fill_(fill)
                handle = module.register_forward_hook(lambda _m, _i, _out, w=without: w)
                row.append((score - target(model(image[None])[0]).sum()) / score)
                handle.remove()
            weights.append(torch.stack(row))
            kept.append(a)
        a = keep(torch.cat(kept))
        return heatmaps([(wide(torch.stack(weights), a) * a).sum(1)], x.shape[2:])


def full_grad(model, x, targets) -> torch.Tensor:
    """Input times gradient, and bias times gradient of every convolution and BatchNorm with a bias; each map scaled."""
    x = x.clone().requires_grad_()
    convolutions, norms = (nn.Conv1d, nn.Conv2d, nn.Conv3d), (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    layers = [path for path, m in model.named_modules() if type(m) in convolutions + norms and m.bias is not None]
    _, gradients, outputs = capture(model, layers, x, targets, create_graph=True)
    (of_input,) = torch.autograd.grad(total(targets, outputs), x)

    def scaled(terms):
        flat = unit(terms.abs().flatten(0, 1))
        return resize(flat[:, None], x.shape[2:])[:, 0].unflatten(0, terms.shape[:2]).sum(1)

    result = scaled((of_input * x).detach())
    for path, gradient in zip(layers, gradients):
        module = model.get_submodule(path)
        bias = module.bias.detach()
        if isinstance(module, norms):
            bias = bias - module.running_mean * module.weight.detach() / (module.running_var + module.eps).sqrt()
        result = result + scaled((wide(bias[None], gradient) * gradient).detach())
    return unit(result)


class GuidedRelu6(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.clamp(0, 6)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * (gradient > 0) * (x > 0) * (x < 6)


def guided_backprop_relu6(model, x, categories) -> torch.Tensor:
    """Of family_models.ClippedRelu, written out with guided activations."""
    x = x.clone().requires_grad_()
    inner = 8 * model.conv1(x)
    middle = model.conv2(GuidedRelu6.apply(inner))
    assert (inner > 6).any() and (middle < 0).any()
    outputs = model.fc(GuidedRelu6.apply(middle).mean([2, 3]))
    return torch.autograd.grad(sum(row[c] for row, c in zip(outputs, categories, strict=True)), x)[0]


def smooth_grad_cam_pp(model, layer, x, targets, noise) -> torch.Tensor:
    """Omeiza 2019 with torch-cam's numerator: powers of the gradient, averaged over noisy copies; alpha = g2 / (2 g2 +
    sum(A) g3 + 1e-8), weight = sum(alpha relu(mean gradient)), A of the clean image."""
    (a,), _, _ = capture(model, [layer], x, targets)
    a = a.detach()
    gradients = torch.stack([capture(model, [layer], x + n, targets)[1][0] for n in noise])
    g1, g2, g3 = gradients.mean(0), (gradients**2).mean(0), (gradients**3).mean(0)
    alpha = g2 / (2 * g2 + a.sum(space(a), keepdim=True) * g3 + 1e-8)
    weights = (alpha * g1.clamp(min=0)).sum(space(a))
    return heatmaps([(wide(weights, a) * a).sum(1)], x.shape[2:])


def pyramid_by_autograd(model: nn.Module, path: str, x: torch.Tensor, targets):
    """Each level weighted by its own gradient, the levels' maps summed at the size of the first."""
    kept = {}

    def keep(module, inputs, output):
        kept.update({name: level.detach().requires_grad_(True) for name, level in output.items()})
        return dict(kept)

    handle = model.get_submodule(path).register_forward_hook(keep)
    total = sum(target(row).sum() for target, row in zip(targets, model(list(x)), strict=True))
    handle.remove()
    gradients = torch.autograd.grad(total, list(kept.values()), allow_unused=True)
    size = next(iter(kept.values())).shape[2:]
    maps = 0
    for level, gradient in zip(kept.values(), gradients, strict=True):
        if gradient is not None:
            weighted = (gradient.mean((2, 3), keepdim=True) * level.detach()).sum(1, keepdim=True)
            maps = maps + F.interpolate(weighted, size=size, mode="bilinear")[:, 0]
    return heatmaps([maps], x.shape[2:]).numpy()
