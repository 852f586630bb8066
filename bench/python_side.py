"""What PyTorch's side of the benchmark is asked, as answering.py reads it.

prepare  builds a torchvision model with fixed weights, writes it as TorchScript, and an input, into a folder
export   writes the model that was prepared as ONNX beside it
run      one timed call of a contestant; what it gives can be written to a file, for comparison
peak     the largest resident memory so far

A device, an element type and what the CUDA libraries may do are told to prepare; inputs come from the CPU's memory, and
results go back there.
"""

import copy
import re
import sys
import time
import warnings
from pathlib import Path

import torch
import torchvision
from answering import answer_commands
from torch import nn

warnings.filterwarnings("ignore")


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that are not trivial to fold
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
        if isinstance(module, nn.Linear) and not module.weight.any():  # torchvision starts some heads at zero
            nn.init.normal_(module.weight, std=0.02)
    return model


def reshape(spec):
    if spec is None:
        return None
    if spec["kind"] == "nhwc":
        return lambda x: x.permute(0, 3, 1, 2)
    height, width = spec["grid"]
    prefix = spec["prefixTokens"]
    return lambda x: x[:, prefix:].transpose(1, 2).reshape(x.shape[0], x.shape[2], height, width)


def save_torchscript(model: nn.Module, x: torch.Tensor, path: Path) -> None:
    """Scripted where that works, else traced."""
    with torch.no_grad():
        try:
            module = torch.jit.script(model)
        except Exception as error:  # noqa: BLE001 - the compiler's refusals have no common class
            print(f"traced, since scripting failed: {str(error).strip().splitlines()[0]}", file=sys.stderr)
            module = torch.jit.trace(model, x)
        module.save(str(path))


class Side:
    name = None

    def prepare(
        self,
        name,
        layer,
        folder,
        largest_batch,
        reshapeTransform=None,
        device="cpu",
        dtype="float32",
        tf32=False,
        benchmark=False,
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = benchmark
        if name != self.name:
            self.original, self.name = build(name), name
        self.model, self.layer, self.transform = self.original, layer, reshape(reshapeTransform)
        self.device, self.dtype = torch.device(device), getattr(torch, dtype)
        self.inputs = torch.randn(largest_batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        inputs = Path(folder) / f"input-{largest_batch}.bin"  # by size: others still read theirs
        self.inputs.numpy().tofile(inputs)
        path = Path(folder) / f"{name}.pt"
        if not path.exists():
            save_torchscript(self.model, self.inputs[:1], path)
        self.path, self.forms = str(path), {}
        with torch.no_grad():  # a class that the model sees in the first image, so that its map is not empty
            self.category = int(self.model(self.inputs[:1]).argmax())
        if device != "cpu" or dtype != "float32":
            self.model = copy.deepcopy(self.original).to(self.device, self.dtype)
        capability = torch.backends.cpu.get_cpu_capability()
        return {"model": str(path), "input": str(inputs), "category": self.category, "cpuCapability": capability}

    def export(self):
        path = Path(self.path).with_suffix(".onnx")
        if not path.exists():
            names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "n"}}}
            torch.onnx.export(self.model, self.inputs[:1], str(path), dynamo=False, opset_version=17, **names)
        return {"model": str(path)}

    def placed(self, x):
        return x.to(self.device).to(self.dtype)

    def run(self, contestant, batch, classes=1, keep=None):
        x = self.inputs[:batch].numpy()
        call = getattr(self, contestant)
        start = time.perf_counter()
        result = call(self.placed(torch.from_numpy(x)), classes)
        if isinstance(result, torch.Tensor):
            result = result.detach().cpu()  # waits for the device
        milliseconds = (time.perf_counter() - start) * 1e3
        if keep:
            result = torch.as_tensor(result).float()
            spread = result.std()  # maps are of 0 to 1; outputs of random weights may be small
            assert spread > (0.01 if contestant.endswith("cam") else 0), "all values are equal: nothing could be compared"
            result.numpy().tofile(keep)
        return {"ms": milliseconds}

    def eager(self, x, _):
        with torch.no_grad():
            return self.model(x)

    def torchscript(self, x, _):
        module = self.form("torchscript", lambda module: module.to(self.dtype))
        with torch.no_grad():
            return module(x)

    def frozen(self, x, _):
        module = self.form("frozen", lambda module: torch.jit.freeze(module.to(memory_format=torch.channels_last)))
        with torch.inference_mode():
            return module(x.contiguous(memory_format=torch.channels_last))

    def optimized(self, x, _):
        module = self.form("optimized", torch.jit.optimize_for_inference)
        with torch.inference_mode():
            return module(x)

    def form(self, name, make):
        """The TorchScript model in a form of its own, kept until another model is prepared."""
        if name not in self.forms:
            self.forms[name] = make(torch.jit.load(self.path, map_location=self.device).eval())
        return self.forms[name]

    def gradcam(self, x, classes):
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        layers = [self.model.get_submodule(self.layer)]
        with GradCAM(self.model, layers, reshape_transform=self.transform) as cam:
            for target in range(classes):
                maps = cam(x, [ClassifierOutputTarget((self.category + target) % 1000)] * len(x))
        return maps

    def eigencam(self, x, _):
        from pytorch_grad_cam import EigenCAM

        with EigenCAM(self.model, [self.model.get_submodule(self.layer)]) as cam:
            return cam(x, None)

    def ablationcam(self, x, _):
        from pytorch_grad_cam import AblationCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with AblationCAM(self.model, [self.model.get_submodule(self.layer)]) as cam:
            return cam(x, [ClassifierOutputTarget(self.category)] * len(x))

    def scorecam(self, x, _):
        from pytorch_grad_cam import ScoreCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with ScoreCAM(self.model, [self.model.get_submodule(self.layer)]) as cam:
            return cam(x, [ClassifierOutputTarget(self.category)] * len(x))

    def projection(self, batch, repeats):
        """EigenCAM's own arithmetic: the layer's activation on its first principal component."""
        from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

        kept = []
        handle = self.model.get_submodule(self.layer).register_forward_hook(lambda _m, _i, out: kept.append(out))
        with torch.no_grad():
            self.model(self.inputs[:batch])
        handle.remove()
        activations = kept[0].numpy()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            get_2d_projection(activations)
            times.append((time.perf_counter() - start) * 1e3)
        return {"ms": sorted(times)[len(times) // 2]}

    def torchcam(self, x, _):
        from torchcam.methods import GradCAM

        with GradCAM(self.model, self.layer) as cam:
            scores = self.model(x)
            maps = cam(self.category, scores)[0]
        return nn.functional.interpolate(maps[:, None], x.shape[2:], mode="bilinear")

    def captum(self, x, _):
        from captum.attr import LayerAttribution, LayerGradCam

        layer = self.model.get_submodule(self.layer)
        maps = LayerGradCam(self.model, layer).attribute(x, target=self.category, relu_attributions=True)
        return LayerAttribution.interpolate(maps, x.shape[2:], "bilinear").detach()

    def kernels(self, batch, repeats):
        sys.path.append(str(Path(__file__).parent / "cuda"))
        from kernel_times import kernel_times

        return kernel_times(self, batch, repeats)

    def device_memory(self, reset=False):
        """MiB: the most that this process took since the last reset, and what the whole device has in use."""
        if self.device.type != "cuda":
            return {"allocated": None, "reserved": None, "used": None}
        if reset:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        free, total = torch.cuda.mem_get_info()
        most = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), total - free
        return dict(zip(("allocated", "reserved", "used"), (size / 2**20 for size in most)))

    def describe_device(self):
        cuda = torch.cuda.is_available()
        return {
            "name": torch.cuda.get_device_name() if cuda else "CPU",
            "torch": torch.__version__,
            "cuda": torch.version.cuda if cuda else None,
            "cudnn": torch.backends.cudnn.version() if cuda else None,
        }

    def peak(self):
        # Unlike getrusage's, this peak holds nothing of the process that started us.
        status = Path("/proc/self/status").read_text()
        return {"megabytes": int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    answer_commands(Side())
