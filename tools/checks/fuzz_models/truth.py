"""What is right: plain autograd of the eager network in double precision, by the papers' formulas. Nothing here is of the
library that is tested, nor of another."""

import copy
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import get_gradient_edge


class NoTruth(Exception):
    """The network does not run, or autograd refuses it."""


def selected(output, selector):
    if selector is None:
        return output
    return getattr(output, selector) if isinstance(selector, str) and hasattr(output, "_fields") else output[selector]


# What sums up: there float32 rounds, and what comes behind may make much of it (a norm of a map that is nearly flat).
ROUNDING = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def rounded(output):
    """By another chance in each run, as the copies of an image differ that AblationCAM subtracts."""
    return output * (1 + 6e-8 * torch.randn(output.shape, dtype=output.dtype))


class Layer:
    """A layer of a fresh copy of the network: what a call of it gave, or what it is to give."""

    def __init__(self, model, path, call, dtype, disturb=0.0, replacement=None):
        self.model = copy.deepcopy(model).to(dtype)
        if disturb:
            chance = torch.Generator().manual_seed(int(disturb * 1e9))
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.mul_(1 + 5e-7 * torch.randn(parameter.shape, generator=chance, dtype=dtype))
            for module in self.model.modules():
                if isinstance(module, ROUNDING):
                    module.register_forward_hook(lambda module, given, output: rounded(output))
        self.call, self.calls, self.replacement = call, 0, replacement
        self.activation = self.edge = None
        self.aliases = self.is_view = self.refused = False
        dict(self.model.named_modules())[path].register_forward_hook(self.hook)

    def hook(self, module, given, output):
        number, self.calls = self.calls, self.calls + 1
        if self.call is not None and number != self.call:
            return None
        if not isinstance(output, torch.Tensor):
            self.activation = output
            return None
        if self.replacement is not None:
            return self.replacement.clone()
        memory = output.untyped_storage().data_ptr()
        tensors = [each for each in given if isinstance(each, torch.Tensor)]
        self.aliases = any(each.untyped_storage().data_ptr() == memory for each in tensors)
        self.is_view = self.aliases and output._is_view()
        self.activation = output.detach().clone()
        self.edge = get_gradient_edge(output) if output.requires_grad else None
        # Later writes in place go to a copy, except where the layer itself handed on its input's memory.
        return None if self.aliases else output.clone()


def batch_norm(x, mean, variance, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """PyTorch's own derivative is wrong where one image's gradient lies channels-last with room between (2.13.0, CPU)."""
    if training or mean is None:
        return TORCH_BATCH_NORM(x, mean, variance, weight, bias, training, momentum, eps)
    return normalized(x, mean.unsqueeze(0), variance.unsqueeze(0), weight, bias, eps)


def normalized(x, mean, variance, weight, bias, eps):
    y = (x - spread(mean, x)) / spread((variance + eps).sqrt(), x)
    if weight is not None:
        y = y * spread(weight.unsqueeze(0), x) + spread(bias.unsqueeze(0), x)
    with torch.no_grad():  # what writes through views behind it sees strides
        like = TORCH_BATCH_NORM(x.detach(), *torch.ones(2, x.size(1), dtype=x.dtype))
    return torch.empty_like(like).copy_(y)


def instance_norm(x, mean=None, variance=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5):
    if x.dtype == torch.float32:  # how its sums round is part of what float32 may differ by
        return TORCH_INSTANCE_NORM(x.contiguous(), mean, variance, weight, bias, use_input_stats, momentum, eps)
    if use_input_stats:
        places = x.flatten(2)
        mean, variance = places.mean(2), places.var(2, unbiased=False)
    else:
        mean, variance = mean.unsqueeze(0), variance.unsqueeze(0)
    return normalized(x.contiguous(), mean, variance, weight, bias, eps)


TORCH_BATCH_NORM, TORCH_INSTANCE_NORM = F.batch_norm, F.instance_norm


@contextmanager
def plainly():
    """Without the closed operators of attention, which have no derivative, and with norms as their formulas."""
    torch.backends.mha.set_fastpath_enabled(False)
    F.batch_norm, F.instance_norm = batch_norm, instance_norm
    try:
        yield
    finally:
        F.batch_norm, F.instance_norm = TORCH_BATCH_NORM, TORCH_INSTANCE_NORM
        torch.backends.mha.set_fastpath_enabled(True)


def forward(layer: Layer, image):
    with plainly():
        return layer.model(image.clone())


def gradients(layer: Layer, image, selector, targets):
    """Scores [targets][images], and of each target the gradient at the layer and, of all, at the input."""
    image = image.clone().requires_grad_(True)
    output = selected(forward(layer, image), selector)
    rows = torch.arange(len(image))
    scores = [output[rows, torch.tensor(classes)] for classes in targets]
    taken = []
    for score in scores:
        if not score.requires_grad or layer.edge is None:
            raise NoTruth("disconnected")
        (gradient,) = torch.autograd.grad(score.sum(), [layer.edge], retain_graph=True, allow_unused=True)
        if gradient is None:
            raise NoTruth("disconnected")
        taken.append(gradient.detach())
    at_input = [torch.autograd.grad(score.sum(), image, retain_graph=True, allow_unused=True)[0] for score in scores]
    if any(gradient is None for gradient in at_input):
        at_input = None
    return output.detach(), [score.detach() for score in scores], taken, at_input


# Autograd's words where a write in place takes what a derivative needs. The network has one all the same.
REFUSALS = ("modified by an inplace operation", "is being modified inplace", "view was created in no_grad mode")


def differences(make, image, selector, targets, step=1e-7):
    """As gradients(), by central differences: of each channel only the mean, as Grad-CAM needs it."""
    rows = torch.arange(len(image))
    with torch.no_grad():
        layer = make()
        output = selected(forward(layer, image), selector)
        a = layer.activation
        taken = [torch.zeros_like(a) for _ in targets]
        for channel in range(a.size(1)):
            pair = []
            for sign in (1, -1):
                moved = a.clone()
                moved[:, channel] += sign * step
                pair.append(selected(forward(make(moved), image), selector))
            if float((pair[0] + pair[1] - 2 * output).abs().max()) > 1e-4 * step:
                raise NoTruth("a kink, where differences tell nothing")
            for gradient, classes in zip(taken, targets):
                slope = (pair[0] - pair[1])[rows, torch.tensor(classes)] / (2 * step * a[0, 0].numel())
                gradient[:, channel] = spread(slope.unsqueeze(1), a)[:, 0]
    return output, [output[rows, torch.tensor(classes)] for classes in targets], taken, None


def spread(weights, like):
    return weights.view(*weights.shape, *[1] * (like.dim() - 2))


def mean(x):
    return x.flatten(2).mean(2)


def total(x):
    return x.flatten(2).sum(2)


def grad_cam(a, g):
    return spread(mean(g), a) * a, spread(mean(g.abs()), a) * a


def hi_res_cam(a, g):
    return g * a, g * a


def layer_cam(a, g):
    return g.relu() * a, g * a


def grad_cam_plus_plus(a, g):
    alpha = g**2 / (2 * g**2 + spread(total(a), a) * g**3 + 1e-6)
    alpha = torch.where(g == 0, torch.zeros_like(alpha), alpha)
    terms = g.relu() * alpha
    return spread(total(terms), a) * a, spread(total(terms), a) * a


def x_grad_cam(a, g):
    terms = g * a / spread(total(a) + 1e-7, a)
    return spread(total(terms), a) * a, spread(total(terms.abs()), a) * a


GRADIENT_METHODS = {"GradCAM": grad_cam, "HiResCAM": hi_res_cam, "LayerCAM": layer_cam, "GradCAMPlusPlus": grad_cam_plus_plus,
                    "XGradCAM": x_grad_cam}


def eigen_cam(a):
    """The first principal component; the extreme of larger magnitude is positive."""
    maps = []
    for image in a:
        places = image.flatten(1).t()
        places = places - places.mean(0)
        left, values, _ = torch.linalg.svd(places, full_matrices=False)
        projection = left[:, 0] * values[0]
        extreme = projection[projection.abs().argmax()]
        maps.append((projection * (-1 if extreme < 0 else 1)).view(image.shape[1:]))
    return torch.stack(maps)


def score_of_rows(make, image, selector, categories):
    output = selected(forward(make(), image), selector)
    return output[:, categories].detach()


def ablation_cam(make, a, image, selector, targets, whole):
    """Weights [targets][images, channels]: the share of the score that is lost without the channel."""
    weights = torch.zeros(len(targets), len(image), a.size(1), dtype=a.dtype)
    for row in range(len(image)):
        least = a[row].min()
        fill = 0.0 if least == 0 else float(least) - 1e7
        for channel in range(a.size(1)):
            without = a[row : row + 1].clone()
            without[:, channel] = fill
            output = selected(forward(make(without), image[row : row + 1]), selector).detach()
            for index, classes in enumerate(targets):
                score = whole[row, classes[row]]
                weights[index, row, channel] = (score - output[0, classes[row]]) / score
    return weights


def score_cam(make, a, image, selector, targets):
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[image.dim()]
    masks = F.interpolate(a, size=image.shape[2:], mode=mode, align_corners=True)
    low, high = masks.flatten(2).amin(2), masks.flatten(2).amax(2)
    masks = (masks - spread(low, masks)) / spread(high - low + 1e-8, masks)
    weights = []
    for row in range(len(image)):
        output = selected(forward(make(), image[row : row + 1] * masks[row].unsqueeze(1)), selector).detach()
        weights.append(output)  # [channels, classes]
    return torch.stack([torch.stack([weights[row][:, classes[row]].softmax(0) for row in range(len(image))]) for classes in targets])


def unit(maps):
    flat = maps.flatten(1)
    flat = flat - flat.amin(1, keepdim=True)
    return (flat / (flat.amax(1, keepdim=True) + 1e-7)).view_as(maps)


def scaled(raw):
    return unit(unit(raw.relu()))


def tells(raw, terms):
    """Of each map whether it is more than the rounding of its terms: flat maps are scaled to noise."""
    size = terms.abs().sum(1).flatten(1).amax(1) + 1e-30
    positive = raw.relu().flatten(1)
    height = positive.amax(1) - positive.amin(1)
    return (height > 1e-3 * size) & (height > 1e-5) | (raw.flatten(1).amax(1) < -1e-3 * size)


def explain(model, image, path, call, selector, targets, methods, dtype, disturb=0.0):
    """Outputs, scores and of each method maps [images x targets] and which of them tell something."""
    image = image.to(dtype)
    if disturb:
        image = image * (1 + 5e-7 * torch.randn(image.shape, generator=torch.Generator().manual_seed(int(disturb * 1e9)), dtype=dtype))

    def make(replacement=None):
        return Layer(model, path, call, dtype, disturb, replacement)

    layer = make()
    try:
        output, scores, taken, at_input = gradients(layer, image, selector, targets)
    except RuntimeError as problem:
        if not any(words in str(problem) for words in REFUSALS) or layer.aliases:
            raise
        output, scores, taken, at_input = differences(make, image, selector, targets)
        layer = make()
        layer.refused = True
        with torch.no_grad():
            forward(layer, image)
    a = layer.activation
    maps = {}
    for method in methods:
        raw, told = [], []
        extra = None
        if method == "AblationCAM":
            extra = ablation_cam(make, a, image, selector, targets, output)
        elif method == "ScoreCAM":
            extra = score_cam(make, a, image, selector, targets)
        for index, g in enumerate(taken):
            if method == "EigenCAM":
                one = eigen_cam(a)
                terms = a - spread(mean(a), a)
            else:
                weighted, terms = GRADIENT_METHODS[method](a, g) if extra is None else (spread(extra[index], a) * a,) * 2
                one = weighted.sum(1)
            raw.append(scaled(one))
            told.append(tells(one, terms))
        # By image, then by target, as the library gives them.
        maps[method] = {"maps": torch.stack(raw, 1).flatten(0, 1), "tells": torch.stack(told, 1).flatten()}
    at_input = torch.stack(at_input, 1).flatten(0, 1) if at_input is not None else None
    if at_input is not None and not torch.isfinite(at_input).all():
        at_input = None
    return {"outputs": output, "scores": torch.stack(scores, 1).flatten(), "methods": maps, "saliency": at_input, "gradients": torch.stack(taken),
            "dtype": None if layer.refused else dtype}
