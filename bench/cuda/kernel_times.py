"""How long the device is busy with a model's forward and backward: what no way to ask for them can go below."""

import time

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def passes(side, x):
    """Forward; forward and backward as far as the layer; forward and backward through the whole model."""
    layer = side.model.get_submodule(side.layer)

    def forward():
        with torch.no_grad():
            side.model(x)

    def to_layer():
        kept = []
        handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        try:
            scores = side.model(x)
        finally:
            handle.remove()
        torch.autograd.grad(scores[:, side.category].sum(), kept[0])

    def whole():
        side.model.zero_grad()
        side.model(x)[:, side.category].sum().backward()

    return {"forward": forward, "forwardAndBackwardToLayer": to_layer, "forwardAndBackward": whole}


def wait(side):
    if side.device.type == "cuda":
        torch.cuda.synchronize()


def wall(side, call, repeats):
    """Milliseconds of one call, of calls that wait for each other and of calls that do not."""
    alone = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        wait(side)
        alone.append((time.perf_counter() - start) * 1e3)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    wait(side)
    return sorted(alone)[repeats // 2], (time.perf_counter() - start) * 1e3 / repeats


def busy(side, call, repeats):
    """Milliseconds that the device works on one call, and its kernels, by the profiler."""
    on_gpu = side.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with profile(activities=activities) as profiled:
        for _ in range(repeats):
            call()
        wait(side)
    # Kernels have events of their own; the CPU's events repeat the time of those they started.
    wanted = DeviceType.CUDA if on_gpu else DeviceType.CPU
    time_of = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = [
        event
        for event in profiled.key_averages()
        if event.device_type == wanted and not getattr(event, "is_user_annotation", False)
    ]
    if not events:
        raise RuntimeError("the profiler saw nothing of the device")
    events.sort(key=lambda event: -getattr(event, time_of))
    return {
        "busy": sum(getattr(event, time_of) for event in events) / 1e3 / repeats,
        "launches": sum(event.count for event in events) / repeats,
        "longest": [
            {"name": event.key[:90], "ms": getattr(event, time_of) / 1e3 / repeats, "count": event.count / repeats}
            for event in events[:8]
        ],
    }


def replayed(side, x, repeats):
    """Milliseconds of one forward that was captured as a CUDA graph: the kernels without what it takes to start them."""
    if side.device.type != "cuda":
        return None
    warm = torch.cuda.Stream()
    warm.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm), torch.no_grad():
        for _ in range(3):
            side.model(x)
    torch.cuda.current_stream().wait_stream(warm)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        output = side.model(x)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        graph.replay()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    del output
    return sorted(times)[repeats // 2]


def kernel_times(side, batch, repeats):
    x = side.placed(side.inputs[:batch])
    answer = {"passes": {}, "failures": {}}

    def attempt(what, call):
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - one figure less, the others are still wanted
            answer["failures"][what] = f"{type(error).__name__}: {error}"[:300]
            return None

    for name, call in passes(side, x).items():
        for _ in range(3):
            attempt(name, call)
        times = attempt(f"{name}: time", lambda call=call: wall(side, call, repeats))
        measured = attempt(f"{name}: profiler", lambda call=call: busy(side, call, repeats))
        answer["passes"][name] = {
            "alone": times and times[0],
            "inARow": times and times[1],
            **(measured or {"busy": None, "launches": None, "longest": []}),
        }
    # Last: a capture that failed can leave the device's stream unusable.
    answer["graph"] = attempt("forward as a CUDA graph", lambda: replayed(side, x, repeats))
    return answer
