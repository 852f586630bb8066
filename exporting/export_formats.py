"""The two formats that export_model.py writes: TorchScript (.pt) and exported programs of torch.export (.pt2)."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from export_sources import ExportError
from torch import nn
from torch.export import Dim, ExportedProgram

SUFFIXES = {"torchscript": ".pt", "pt2": ".pt2"}
# Added to the height and width, which a model may want to be multiples of 32.
OTHER_SIZE = (32, 64)


@dataclass
class Exported:
    """A module or program that is not written yet, and on what it has to agree with its source."""

    program: torch.jit.ScriptModule | ExportedProgram
    how: str  # in words
    tried: list  # inputs: batches that the file must take
    notes: list = field(default_factory=list)

    def save(self, path: Path) -> None:
        if isinstance(self.program, ExportedProgram):
            torch.export.save(self.program, path)
        else:
            torch.jit.save(self.program, str(path))


def load_file(path: Path) -> nn.Module:
    """As Python loads the file that was written."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    return torch.jit.load(str(path))


def to_torchscript(model: nn.Module, images: torch.Tensor, script: bool) -> Exported:
    # The fast path of PyTorch's attention is one operator without gradients: it must not be traced.
    torch.backends.mha.set_fastpath_enabled(False)
    tried = [images[:1], images[:2]]
    if script:
        return Exported(torch.jit.script(model), "scripted", tried)
    with warnings.catch_warnings():
        # What a trace may have frozen in is found by running it on two images, not guessed from warnings.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return Exported(torch.jit.trace(model, images[:1], strict=False, check_trace=False), "traced", tried)


def export_program(model: nn.Module, x: torch.Tensor, dynamic: dict | None) -> ExportedProgram:
    """`dynamic`: the axes of any length."""
    # Not without gradients, where `with torch.no_grad():` in a forward would leave no trace in the program.
    program = torch.export.export(model, (x,), dynamic_shapes=dynamic and (dynamic,))
    program.example_inputs = None  # noise, of which the file would keep a copy
    return program


def to_program(model: nn.Module, images: torch.Tensor, batch_size: int, dynamic_size: bool) -> Exported:
    """`images` are three: a program for any number is made with two, for torch.export takes 0 and 1 as fixed numbers."""
    axes = {0: "number", 2: "height", 3: "width"} if dynamic_size else {0: "number"}
    try:
        program = export_program(model, images[:2], dict.fromkeys(axes, Dim.DYNAMIC))
    except Exception as error:  # torch.export has no common class of its errors
        if dynamic_size:
            advice = "the model does not allow images of any size: leave out --dynamic-size"
            raise ExportError(f"{advice}. torch.export says: {reason_of(error)}") from error
        return to_static_program(model, images, batch_size, error)
    tried = [images[:1], images[:2], images]
    if dynamic_size:
        height, width = (length + more for length, more in zip(images.shape[2:], OTHER_SIZE, strict=True))
        tried.append(torch.nn.functional.interpolate(images[:2], size=(height, width)))
    return Exported(program, f"exported for any {' and '.join(axes.values())} of images", tried)


def to_static_program(model: nn.Module, images: torch.Tensor, batch_size: int, reason: Exception) -> Exported:
    x = images[:1].repeat(batch_size, 1, 1, 1) + torch.linspace(0, 0.1, batch_size).view(-1, 1, 1, 1)
    try:
        program = export_program(model, x, None)
    except Exception as error:
        advice = "torch.export does not take this model; write TorchScript: --format torchscript"
        raise ExportError(f"{advice}. It says: {reason_of(error)}") from error
    each = "one image" if batch_size == 1 else f"{batch_size} images"
    note = (
        f"WARNING: the model does not allow any number of images, so the file takes {each} in a run, no more and no fewer; "
        f"--batch-size is another number. torch.export says: {reason_of(reason)}"
    )
    return Exported(program, f"exported for {each}", [x], [note])


def reason_of(error: Exception) -> str:
    """What torch.export says of the model, without its advice on how to search further."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    marked = next((line for line in lines if line.startswith("You marked")), None)
    text = (marked or lines[0] if lines else type(error).__name__).split(" If you")[0].split(" For more")[0]
    return text if len(text) <= 300 else f"{text[:300]} ..."


def layers_of(program: ExportedProgram) -> set:
    """The paths of the layers that do something in it: an Identity is not among them."""
    stacks = [node.meta.get("nn_module_stack", {}) for node in program.graph.nodes]
    return {path for stack in stacks for path, _ in stack.values()}
