"""The statements that networks are made of. Each writes a few lines that take `x`, maps [B, C, ...space], and give it back;
what it draws is its own, so that the others stay as they are when one is taken out."""

from sketch import Sketch

STATEMENTS = []


def statement(weight=1, scripted_only=False):
    def add(function):
        STATEMENTS.append((function, weight, scripted_only))
        return function

    return add


MODULES = ["ReLU", "ReLU6", "SiLU", "Hardswish", "LeakyReLU", "ELU", "Hardtanh", "Hardsigmoid", "Mish", "CELU", "SELU"]
PLAIN_MODULES = ["GELU", "Sigmoid", "Tanh", "Softplus", "PReLU", "Identity", "LogSigmoid", "Softsign"]
WRITING = ["F.relu_(x)", "x.relu_()", "torch.relu_(x)", "x.sigmoid_()", "x.tanh_()", "F.leaky_relu_(x, 0.2)", "F.elu_(x)",
           "F.hardtanh_(x)", "F.silu(x, inplace=True)", "F.relu6(x, inplace=True)", "F.hardswish(x, inplace=True)",
           "x.clamp_(min=-0.5)", "x.clamp_(-0.7, 0.9)", "x.abs_()", "F.threshold_(x, 0.1, 0.05)", "x.neg_()", "x.square_()",
           "x.clamp_min_(0.0)"]
READING = ["F.relu(x)", "x.relu()", "F.gelu(x)", "F.gelu(x, approximate='tanh')", "torch.sigmoid(x) * x", "F.softplus(x)",
           "F.silu(x)", "x.tanh()", "x.clamp(min=0)", "x.abs().sqrt() if x.dim() < 2 else x.abs()", "torch.where(x > 0, x, 0.1 * x)",
           "torch.maximum(x, x * 0.1)", "x.masked_fill(x < 0, 0.0)", "F.mish(x)", "x.exp().clamp(max=3.0)",
           "F.relu(x).pow(2)", "F.dropout(F.relu(x), 0.3, training=self.training)", "F.normalize(x, dim=1)",
           "F.local_response_norm(x, 2)" , "F.hardshrink(x, 0.1)", "torch.rsqrt(x * x + 1.0) * x", "x.softmax(1)"]


@statement(6)
def convolution(s: Sketch, r):
    out = r.choice((2, 4, 4, 6, 8))
    kernel = r.choice((1, 3, 3, 3))
    groups = r.choice([g for g in (1, 1, 2, s.c) if s.c % g == 0 and out % g == 0])
    dilation = r.choice((1, 1, 2)) if kernel == 3 and min(s.space) > 4 else 1
    stride = r.choice((1, 1, 1, 2)) if min(s.space) >= 8 else 1
    more = f", groups={groups}, dilation={dilation}, stride={stride}, padding={(kernel // 2) * dilation}, bias={r.random() < 0.6}"
    if kernel == 3 and stride == 1 and r.random() < 0.1:
        more = ", padding='same', padding_mode='zeros'"
    elif kernel == 3 and stride == 1 and dilation == 1 and r.random() < 0.1:
        more = f", padding_mode='{r.choice(('reflect', 'replicate', 'circular'))}'"
    elif kernel == 3 and s.axes == 2 and stride == 1 and dilation == 1 and r.random() < 0.1 and groups == 1:
        more = ", padding=(0, 2)"
        if s.space[0] > 4:
            s.shape[1:] = [s.space[0] - 2, s.space[1] + 2]
        else:
            more = ""
    name = s.layer("conv", s.conv(out, kernel, more))
    s.add(f"x = {name}(x)")
    s.shape = [out, *[(n - 1) // stride + 1 for n in s.space]]
    if r.random() < 0.4:
        s.add(f"x = {s.layer('bn', f'blocks.NORMS[{s.axes}]({out})')}(x)")
    if r.random() < 0.5:
        activation(s, r)


@statement(3)
def norm(s: Sketch, r):
    kinds = [f"blocks.NORMS[{s.axes}]({s.c}, eps={r.choice((1e-5, 1e-3))})", f"nn.BatchNorm{s.axes}d({s.c}, affine=False)",
             f"nn.GroupNorm({r.choice([g for g in (1, 2, s.c) if s.c % g == 0])}, {s.c})",
             f"nn.LayerNorm({s.shape})", f"nn.InstanceNorm{s.axes}d({s.c}, affine=True, track_running_stats=True)",
             f"nn.InstanceNorm{s.axes}d({s.c}, affine=True)"]
    s.add(f"x = {s.layer('norm', r.choice(kinds))}(x)")


@statement(5)
def activation(s: Sketch, r):
    how = r.random()
    if how < 0.3:
        s.add(f"x = {s.layer('act', f'nn.{r.choice(MODULES)}(inplace={r.random() < 0.6})')}(x)")
    elif how < 0.4:
        s.add(f"x = {s.layer('act', f'nn.{r.choice(PLAIN_MODULES)}()')}(x)")
    elif how < 0.7:
        write = r.choice(WRITING)
        s.add(write if r.random() < 0.5 else f"x = {write}")
    else:
        s.add(f"x = {r.choice(READING)}")


@statement(3)
def keep(s: Sketch, r):
    name = s.name("kept")
    s.add(f"{name} = " + r.choice(["x", "x", "x", "x * 0.5", "x.clone()", "x.relu()", "x.detach()", "x.contiguous()"]))
    s.keep(name)


@statement(2)
def keep_other(s: Sketch, r):
    """Values in front of a layer that are used behind it: numbers, lists, tuples, views, what grows with the batch."""
    name, kind = s.name("kept"), r.choice(("size", "list", "tuple", "half", "expanded", "double", "dict", "shape", "weights", "flat"))
    if kind == "size":
        s.add(f"{name} = x.size(0)")
    elif kind == "list":
        s.add(f"{name}: List[Tensor] = [x, x * 2]" if r.random() < 0.5 else f"{name}: List[Tensor] = []\n        {name}.append(x)\n        {name}.append(x.tanh())")
    elif kind == "tuple":
        s.add(f"{name} = (x, x.size(0), 0.5)")
    elif kind == "half":
        if s.c % 2:
            return
        s.add(f"{name} = " + r.choice([f"x[:, :{s.c // 2}]", f"x.chunk(2, 1)[1]", f"x.narrow(1, 0, {s.c // 2})"]))
    elif kind == "expanded":
        s.add(f"{name} = {s.layer('param', f'nn.Parameter(torch.zeros(1, {s.c}, {s.ones}))')}.expand(x.size(0), -1, {', '.join(['-1'] * s.axes)})")
    elif kind == "double":
        s.add(f"{name} = torch.cat([x, x.tanh()], 0)")
    elif kind == "dict":
        s.add(f'{name}: Dict[str, Tensor] = {{"a": x, "b": x * x}}')
    elif kind == "shape":
        s.add(f"{name} = x.shape")
    elif kind == "weights":
        s.add(f"{name} = x.flatten(2).mean(2)")
    elif kind == "flat":
        s.add(f"{name} = x.flatten(1)")
    s.keep(name, kind)


@statement(5)
def use_kept(s: Sketch, r):
    fitting = [each for each in s.kept if each[1][0] == s.c and (each[1] == s.shape or each[2] in ("size", "weights", "expanded"))]
    if not fitting:
        return
    name, _, kind = r.choice(fitting[-3:])
    adding = r.choice(["x = x + {}", "x += {}", "x.add_({})", "x = torch.add(x, {}, alpha=0.5)", "x = x - {}", "x *= {}", "x = gate(x, {})",
                       "x = F.relu(x + {})", "x = x.add(x.mul({}))", "x = {} + x", "x = torch.stack([x, {}]).mean(0)"])
    if kind == "maps":
        if r.random() < 0.25:
            join = s.layer("join", f"blocks.conv({s.axes}, {2 * s.c}, {s.c}, 1)")
            s.add(f"x = {join}(torch.cat([x, {name}], 1))")
        elif r.random() < 0.1:
            s.add(f"{name}.mul_(0.5)", adding.format(name))
        else:
            s.add(adding.format(name))
    elif kind == "size":
        s.add(f"x = x.reshape({name}, {s.c}, -1).view({name}, {', '.join(map(str, s.shape))})")
    elif kind == "list":
        s.add(adding.format(f"{name}[{r.choice((0, 1, -1))}]") if r.random() < 0.6 else f"for each{s.position} in {name}:\n            x = x + each{s.position}")
    elif kind == "tuple":
        s.add(adding.format(f"{name}[0]"), f"x = x * {name}[2]")
    elif kind == "half":
        s.add(f"x = torch.cat([{name}, x[:, {s.c // 2}:]], 1)" if r.random() < 0.5 else f"x[:, :{s.c // 2}] += {name}")
    elif kind == "expanded":
        s.add(r.choice((f"x = x + {name}", f"x += {name}")))
    elif kind == "double":
        s.add(adding.format(f"{name}[x.size(0):]") if r.random() < 0.5 else adding.format(f"{name}.chunk(2, 0)[1]"))
    elif kind == "dict":
        s.add(adding.format(f'{name}["{r.choice("ab")}"]'))
    elif kind == "shape":
        s.add(f"x = x.flatten(1).view({name})")
    elif kind == "weights":
        s.add(f"x = x * {name}.sigmoid().view({name}.size(0), -1, {s.ones})")
    elif kind == "flat":
        s.add(adding.format(f"{name}.view_as(x)"))


@statement(4)
def block(s: Sketch, r):
    kinds = [f"Residual({s.axes}, {s.c}, '{r.choice(('plain', '+=', 'add_'))}')", f"SqueezeExcite({s.axes}, {s.c}, {r.random() < 0.5})",
             f"Branches({s.axes}, {s.c}, '{r.choice(('cat', 'stack', 'add'))}')", f"ChannelsLast({s.axes}, {s.c})",
             f"Repeats({s.axes}, {s.c}, {r.choice((2, 3))})", f"ConvNormAct({s.axes}, {s.c}, {s.c}, {r.random() < 0.5})"]
    if s.c % 2 == 0:
        kinds.append(f"Shuffle(2, {r.random() < 0.5})")
    if s.axes == 2:
        kinds.append(f"Windows({s.c})")
    kinds = [f"blocks.{kind}" for kind in kinds]
    kinds.append(f"nn.Sequential(blocks.Residual({s.axes}, {s.c}, '+='), nn.Dropout(0.2), blocks.ConvNormAct({s.axes}, {s.c}, {s.c}, True))")
    name = s.layer("block", r.choice(kinds))
    s.add(f"x = {name}(x)")
    if r.random() < 0.15:
        s.add(f"x = {name}(x)")


@statement(2)
def gives_several(s: Sketch, r):
    name = s.name("several")
    kind = r.choice(("GivesNamed", "GivesTuple", "GivesDict"))
    layer = s.layer("gives", f"blocks.{kind}({s.axes}, {s.c})")
    s.add(f"{name} = {layer}(x)")
    if kind == "GivesNamed":
        s.add(r.choice([f"x = {name}.fine + {name}.coarse", f"x = {name}.coarse", f"x = x + {name}[0]"]))
    elif kind == "GivesDict":
        s.add(r.choice([f'x = {name}["out"]', f'x = {name}["out"] + {name}["in"]']))
    else:
        s.add(f"x = {name}[0] * (1.0 / {name}[2])")
        if r.random() < 0.5 and not s.traced:
            s.add(f"maybe{s.position} = {name}[1]", f"if maybe{s.position} is not None:", f"    x = x + maybe{s.position}")


@statement(3)
def attention(s: Sketch, r):
    if s.places > 64 or s.c % 2 or s.c < 4:
        return
    if r.random() < 0.35:
        more = f"norm_first={r.random() < 0.5}, activation='{r.choice(('relu', 'gelu'))}'"
        inner = f"nn.TransformerEncoderLayer({s.c}, 2, {2 * s.c}, batch_first=True, {more})"
        if r.random() < 0.3:
            inner = f"nn.TransformerEncoder({inner}, 2, enable_nested_tensor=False)"
    else:
        how = r.choice(("module", "operator", "scale", "mask", "bias", "matrices"))
        inner = f"blocks.Attention({s.c}, 2, '{how}', {r.random() < 0.3})"
    s.add(f"x = {s.layer('over', f'blocks.OverTokens({inner})')}(x)")


@statement(3)
def parts(s: Sketch, r):
    if s.c % 2:
        return
    a, b, half = s.name("a"), s.name("b"), s.c // 2
    split = r.choice([f"x.chunk(2, 1)", f"torch.split(x, {half}, 1)", f"x.split([{half}, {half}], dim=1)", f"x.tensor_split(2, dim=1)"])
    s.add(f"{a}, {b} = {split}")
    s.add(*r.choice([
        [f"x = torch.cat([{b}, {a}], 1)"], [f"x = torch.cat(({a} * {b}.sigmoid(), {b}), dim=1)"],
        [f"{a}.mul_(0.5)"], [f"{b}.add_({a})"], [f"{a}.sigmoid_()", f"{b} += 0.1"], [f"{b}.relu_()", f"x = x + 0.1"],
        [f"x = torch.stack([{a}, {b}], 2).flatten(1, 2)"], [f"{a} = {a} + {b}", f"x = torch.cat([{a}, {b}], 1)"],
        [f"{a}.copy_({b})"], [f"x = torch.cat([x, {a}], 1)[:, :{s.c}]"],
    ]))


@statement(4)
def slice_writes(s: Sketch, r):
    half = max(1, s.c // 2)
    s.add(*r.choice([
        ["x[:, 0] = x[:, 0] * 2"], [f"x[:, :{half}] += 0.3"], ["x[..., 0] *= 0.5"], ["x[:, ::2].mul_(0.7)"], ["x[x < 0] = 0.0"],
        ["x.masked_fill_(x < -0.5, 0.1)"], [f"x[:, :{half}] = x[:, {s.c - half}:]"], ["x.view(-1).mul_(0.8)"], ["x.flatten(1).add_(0.1)"],
        ["x.select(1, 0).zero_()"], ["x.transpose(1, 2).mul_(1.2)"], ["x.narrow(1, 0, 1).fill_(0.2)"], ["x.mul_(0.5).add_(0.2)"],
        ["x[:, 0, 0] = 0.0"], ["x.unbind(1)[0].mul_(2.0)"], ["x[..., 1:] += x[..., :-1].clone()"], ["x.index_fill_(1, torch.tensor([0], device=x.device), 0.3)"],
        ["x.detach().mul_(0.9)"],
        ["x.addcmul_(x.clone(), x.clone(), value=0.1)"], ["torch.mul(x, 0.5, out=x)"] if False else ["x.div_(2.0)"],
        ["x.unsqueeze(1).squeeze(1).add_(0.2)"], ["x.permute(" + ", ".join(map(str, [0, *range(2, 2 + s.axes), 1])) + ").add_(0.1)"],
        [f"x.index_add_(1, torch.tensor([0], device=x.device), x[:, :1].clone())"], ["x.swapaxes(1, -1).tanh_()"],
    ]))


@statement(1)
def writes_through_copies(s: Sketch, r):
    """Whether the write reaches `x` hangs on its strides: of one row of a slice, not on those of two."""
    s.add(r.choice(("x.contiguous().mul_(0.6)", "x.reshape(x.size(0), -1)[:, :3] = 0.4", "x.squeeze().mul_(0.9)")))
    s.mixes = True


@statement(4, scripted_only=True)
def branches(s: Sketch, r):
    conv = s.layer("conv", s.conv(s.c))
    condition = r.choice([f"x.size(-1) > {r.choice((2, 99))}", f"x.dim() == {s.axes + 2}", "x.shape[0] > 1", "self.training", "x.size(1) % 2 == 0",
                          f"len(x.shape) > 3 and x.size(2) > 2", "x.numel() > 10", "torch.is_grad_enabled()" if r.random() < 0.2 else "not self.training",
                          "x.requires_grad" if r.random() < 0.1 else "x.is_floating_point()"])
    if condition in ("x.requires_grad", "torch.is_grad_enabled()"):
        condition = "x.size(0) >= 1"
    s.mixes = s.mixes or condition == "x.shape[0] > 1"
    first, second = r.sample([f"x = {conv}(x)", "x = x * 2.0", "x.mul_(0.5)", "x = F.relu(x)", "x += 0.2", "x = x + x.tanh()", "x[:, 0] = 0.5", "x.relu_()",
                              f"x = x + {conv}(x)", f"x = {conv}(x).relu_()"], 2)
    s.add(f"if {condition}:", f"    {first}")
    if r.random() < 0.6:
        s.add("else:", f"    {second}")


@statement(4, scripted_only=True)
def loops(s: Sketch, r):
    i, conv = s.name("i"), s.layer("conv", s.conv(s.c))
    s.add(*r.choice([
        [f"for {i} in range(2):", f"    x = x + {conv}(x) * 0.5"],
        [f"for {i} in range(x.size(1)):", f"    x[:, {i}] *= 0.5 + 0.1 * {i}"],
        [f"{i}s: List[Tensor] = []", f"for {i} in range(x.size(0)):", f"    {i}s.append({conv}(x[{i}:{i} + 1]))", f"x = torch.cat({i}s, 0)"],
        [f"{i}s: List[Tensor] = []", f"for {i} in range(2):", f"    {i}y = {conv}(x)", f"    {i}s.append({i}y)", f"    {i}y.mul_(0.5 + {i})", f"x = torch.stack({i}s).sum(0)"],
        [f"{i} = 0", f"while {i} < 2:", f"    x = F.relu(x) if {i} == 0 else {conv}(x)", f"    {i} += 1"],
        [f"x = torch.stack([{i}.tanh() for {i} in x.unbind(1)], 1)"],
        [f"for {i} in range(3):", f"    if {i} == 1:", "        continue", f"    x = x + {conv}(x)", f"    if {i} == 2:", "        break"],
        [f"{i}s = torch.zeros_like(x)", f"for {i} in range(x.size(1)):", f"    {i}s[:, {i}] = x[:, x.size(1) - 1 - {i}]", f"x = {conv}({i}s)"],
        [f"for {i} in [0.5, 1.5]:", f"    x.mul_({i})", f"    x = x + {conv}(x)"],
        [f"{i}s = [x]", f"for {i} in range(2):", f"    {i}s.append({conv}({i}s[-1]))", f"x = {i}s[0] + {i}s[1] + {i}s[2]"],
    ]))


@statement(3)
def sizes(s: Sketch, r):
    names = [s.name(letter) for letter in "nc"]
    n, c = names
    shape = ", ".join(f"x.size({axis})" for axis in range(2, 2 + s.axes))
    s.add(f"{n}, {c} = x.shape[0], x.shape[1]")
    conv = s.layer("conv", f"blocks.conv({s.axes}, 1, 1)")
    s.add(*r.choice([
        [f"x = {conv}(x.reshape({n} * {c}, 1, {shape})).view({n}, {c}, {shape})"],
        [f"x = torch.cat([x, x.flip(-1)], 0)", "x = F.relu(x)" , f"x = x[:{n}] + x[{n}:]"],
        [f"x = torch.cat([x, x.flip(-1)], 0)", f"x = x.view(2, {n}, {c}, {shape}).mean(0)"],
        [f"x = x.repeat(2, 1, {s.ones})", f"x = x.chunk(2, 0)[0] * x.chunk(2, 0)[1].sigmoid()"],
        [f"x = x * (1.0 + 0.5 / {c})"], [f"x = x * float(x.size(-1)) / {c}"],
        [f"x = x.repeat_interleave(2, 0)", f"x = x.view({n}, 2, {c}, {shape}).amax(1)"],
        [f"x = x.view({n}, -1).view(x.shape)"], [f"x = x.reshape(x.size(0) // 1, {c}, {shape}).contiguous()"],
        [f"x = x.transpose(0, 1).reshape({c}, -1).view({c}, {n}, {shape}).transpose(0, 1)"],
        [f"x = x.expand({n}, {c}, {shape}) * 1.0"], [f"x = x.new_zeros({n}, {c}, {shape}) + x"], [f"x = x + torch.ones({n}, 1, {s.ones}, dtype=x.dtype, device=x.device)"],
        [f"x = x.unsqueeze(1).expand(-1, 2, {', '.join(['-1'] * (s.axes + 1))}).reshape({n} * 2, {c}, {shape})", f"x = x.view({n}, 2, {c}, {shape})[:, 0]"],
    ]))


@statement(2)
def state(s: Sketch, r):
    how = r.choice(("buffer", "number", "attribute"))
    if s.traced:
        how = "buffer"
    s.add(f"x = {s.layer('counts', f'blocks.Counts({s.axes}, {s.c}, {how!r})')}(x)")


@statement(2)
def casts(s: Sketch, r):
    name = s.name("dtype")
    s.add(*r.choice([
        [f"{name} = x", f"x = x.double().tanh().type_as({name})"], [f"x = x.to(torch.float64).mul(0.5).to(x.dtype)"],
        [f"x = x * x.detach().gt(0).to(x.dtype)"], [f"x = torch.where(x > 0.1, x, torch.zeros_like(x))"], [f"x = x * (x > 0).double().to(x.dtype)"],
        [f"{name} = torch.arange(x.size(-1), device=x.device).to(x.dtype)", f"x = x + 0.05 * {name}"], ["x = x * (x != 0)"],
    ]))


@statement(2)
def scalars(s: Sketch, r):
    name = s.name("scalar")
    weight = s.layer("weight", "nn.Parameter(torch.ones(1))")
    choices = [
        [f"x = x * {weight}"], [f"x = torch.addcdiv(x, x, x.abs() + 1.0, value=0.5)"], [f"x = torch.lerp(x, x.tanh(), 0.3)"],
        [f"x = x * torch.tensor(0.5, dtype=x.dtype, device=x.device)"], [f"x = x.mul(1 + {weight}.sigmoid())"], ["x = 2.0 - x"], ["x = 1.0 / (x * x + 1.0)"],
    ]
    if not s.traced:
        choices += [
            [f"{name} = float({weight}.item())", f"x = x * {name}"], [f"{name} = {weight}.detach().item()", f"x = x + {name}"],
            [f"{name} = torch.tensor(x.size(1)).item()", f"x = x / {name}"], [f"with torch.no_grad():", f"    {name} = x.tanh()", f"x = x + {name}"],
            [f"{name} = int(x.size(1) * 1.5)", f"x = x * {name}"], [f"assert x.dim() == {s.axes + 2}"],
        ]
    s.add(*r.choice(choices))
    if r.random() < 0.1 and not s.traced:
        s.add(f"x = x * (1.0 + float(x.detach().mean().item()))")
        s.mixes = True


@statement(1)
def hands_on(s: Sketch, r):
    """What gives its own input while a model is evaluated, though operators' schemas do not say so."""
    name = s.name("kept")
    layer = s.layer("hands", r.choice(("nn.Dropout(0.3)", f"nn.Dropout{max(2, s.axes)}d(0.3)" if s.axes > 1 else "nn.Dropout(0.1)", "nn.Identity()", "nn.AlphaDropout(0.2)")))
    s.add(f"{name} = x", r.choice([f"x = {layer}(x)", f"x = F.dropout(x, 0.4, self.training)", "x = x.type_as(x)", "x = x.to(x.dtype)", "x = x.contiguous()"]))
    if r.random() < 0.5:
        s.add(r.choice(["x = F.relu_(x)", "x.mul_(0.5)", "x += 0.2", "x[:, 0] = 0.1"]))
    s.keep(name)


@statement(2)
def masks(s: Sketch, r):
    mask = s.name("mask")
    s.init.append(f"self.register_buffer('{mask}', torch.linspace(0, 1, {s.space[-1]}))")
    s.add(*r.choice([
        [f"x = x * self.{mask}"], [f"x = x * self.{mask}.expand_as(x)"], [f"x = x.masked_fill((self.{mask} > 0.7).expand(x.shape), 0.0)"],
        [f"x = x + self.{mask}.view({', '.join(['1'] * (s.axes + 1))}, -1)"], [f"x.mul_(self.{mask})"], [f"x = x * (self.{mask} > 0.3)"],
        [f"x = x + x.mean({s.dims}, keepdim=True).expand_as(x)"], [f"x = x * x.flatten(2).softmax(2).view_as(x)"], [f"x = x - x.amax(1, keepdim=True)"],
    ]))


@statement(3)
def resizing(s: Sketch, r):
    pool = s.axes
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[s.axes]
    smallest = min(s.space)
    choices = [
        [f"x = F.interpolate(x, scale_factor=2.0, mode='nearest')", f"x = F.avg_pool{pool}d(x, 2)"],
        [f"x = F.interpolate(F.max_pool{pool}d(x, 2), size={s.space}, mode='{mode}', align_corners={r.random() < 0.5})"] if smallest > 2 else ["x = x"],
        [f"x = F.max_pool{pool}d(x, 3, 1, 1)"], [f"x = F.avg_pool{pool}d(x, 3, 1, 1)"], [f"x = x + F.adaptive_avg_pool{pool}d(x, 1)"],
        [f"x = F.interpolate(F.adaptive_avg_pool{pool}d(x, 2), size=x.shape[2:], mode='nearest')"], [f"x = F.pad(x, {[1, 1] * s.axes})", f"x = x[..., 1:-1]" if s.axes == 1 else f"x = F.max_pool{pool}d(x, 3, 1)"],
    ]
    s.add(*r.choice(choices))
    if smallest >= 8 and r.random() < 0.4:
        s.add(f"x = {s.layer('pool', r.choice((f'nn.MaxPool{pool}d(2)', f'nn.AvgPool{pool}d(2)')))}(x)")
        s.shape = [s.c, *[n // 2 for n in s.space]]
    elif r.random() < 0.15 and smallest <= 6 and s.axes < 3:
        out = r.choice((2, 4))
        s.add(f"x = {s.layer('up', f'nn.ConvTranspose{pool}d({s.c}, {out}, 2, stride=2)')}(x)")
        s.shape = [out, *[2 * n for n in s.space]]


@statement(3)
def views(s: Sketch, r):
    last = list(range(2, 2 + s.axes))
    there, back = [0, *last, 1], [0, s.axes + 1, *range(1, s.axes + 1)]
    linear = s.layer("mix", f"nn.Linear({s.c}, {s.c})")
    choices = [
        [f"x = x.permute({there}).contiguous()", f"x = {linear}(x).permute({back})"], [f"x = x.permute({there})", "x = F.relu(x)", f"x = x.permute({back}).contiguous()"],
        [f"x = {linear}(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)"], [f"x = x.transpose(1, -1).contiguous().transpose(1, -1)"],
        [f"x = x.flatten(1).unflatten(1, {s.shape})"], [f"x = torch.einsum('nc...,dc->nd...', x, {linear}.weight)"], [f"x = x.roll(1, -1)"], [f"x = x.flip(1)"],
        [f"x = x.cumsum(-1) * 0.3"], [f"x = ({linear}.weight @ x.flatten(2)).view_as(x)"], [f"x = x.movedim(1, -1).movedim(-1, 1)"], [f"x = x.squeeze(0) if False else x * 1.0"],
    ]
    if s.axes == 2:
        choices += [["x = x.contiguous(memory_format=torch.channels_last)"], ["x = F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)"] if s.c % 4 == 0 else ["x = x * 0.9"],
                    [f"x = F.unfold(x, 3, padding=1).view(x.size(0), {s.c}, 9, -1).mean(2).view_as(x)"]]
        if not s.traced:
            choices += [["if not x.is_contiguous():", "    x = x * 3.0"], ["if x.stride(1) != x.size(2) * x.size(3):", "    x = x + 1.0"]]
    s.add(*r.choice(choices))
