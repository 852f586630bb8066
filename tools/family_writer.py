"""Writes test/fixtures/family: models, arrays, and the index golden.json.

Cases are computed twice, see float64_result.py: first for a Writer, which saves the models, then for its `in_double()`,
whose models and inputs are those in double precision and whose values are the ones that are stored.
"""

import json
from pathlib import Path

import numpy as np
import torch

import family_library as library
from float64_result import LARGEST_ERROR, doubled, errors_of
from torchscript_file import save_torchscript

FOLDER = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "family"
# Of the library and a formula by hand. In double precision only rounding is left between them.
AGREEMENT = 1e-9


def as_numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy()


class Writer:
    def __init__(self, folder: Path = FOLDER, single: "Writer | None" = None):
        self.folder, self.single = folder, single
        folder.mkdir(parents=True, exist_ok=True)
        self.dtype = torch.float32 if single is None else torch.float64
        self.cases, self.files, self.group = [], set(), ""
        self.models, self.inputs, self.results = {}, {}, {}

    def in_double(self) -> "Writer":
        return Writer(self.folder, self)

    def add_model(self, name: str, model, *inputs, script=True, exported=None, tolerance=1e-5) -> str:
        """Saves the model scripted (or `exported`), checks that the file computes the same, and keeps its inputs."""
        file = f"{name}.pt"
        if self.single:
            self.files.add(file)
            for i in range(len(inputs)):
                self.files.add(f"{name}.input{i or ''}.bin")
            self.inputs.update({name: self.single.inputs[name]} if inputs else {})
            self.models[name] = (file, doubled(model), *[x.double() for x in inputs])
            return file
        if exported is None:
            exported = torch.jit.script(model) if script else torch.jit.trace(model, inputs)
        save_torchscript(exported, self.folder / file)
        self.files.add(file)
        size = (self.folder / file).stat().st_size
        assert size < 500_000, (name, size)
        if inputs:
            with torch.no_grad():
                mine, theirs = model(*inputs), torch.jit.load(str(self.folder / file))(*inputs)
            if isinstance(mine, torch.Tensor):
                assert (mine - theirs).abs().max() <= tolerance, name
            arrays = [self.array(f"{name}.input{i or ''}", as_numpy(x.float())) for i, x in enumerate(inputs)]
            self.inputs[name] = arrays[0] if len(arrays) == 1 else arrays
        self.models[name] = (file, model, *inputs)
        return file

    def array(self, name: str, values) -> dict:
        values = np.asarray(values)
        assert np.isfinite(values).all(), name
        file = f"{name}.bin"
        assert file not in self.files, f"{file} twice"
        values.astype("<f4").tofile(self.folder / file)
        self.files.add(file)
        return {"file": file, "shape": list(values.shape), "dtype": "float32"}

    def stored(self, name: str, value):
        """`value` with every array in it replaced by the file that holds it, and modules by theirs."""
        if isinstance(value, dict):
            return {key: self.stored(f"{name}.{key}", inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.stored(f"{name}.{i}", inner) for i, inner in enumerate(value)]
        if isinstance(value, torch.nn.Module):
            return self.add_model(name, value)
        if isinstance(value, torch.Tensor):
            value = as_numpy(value)
        if isinstance(value, np.ndarray):
            return self.array(name, value)
        return value.item() if isinstance(value, np.generic) else value

    def case(
        self,
        name,
        description,
        method,
        model,
        *,
        layers=None,
        targets=None,
        options=None,
        source,
        heatmaps=None,
        check=None,
        expected=None,
        largestError=LARGEST_ERROR,
        **fields,
    ) -> None:
        """One case. `heatmaps` must not be constant or zero; `check` is the same by another way and must agree."""
        expected = dict(expected or {})
        note = ""
        if heatmaps is not None:
            maps = as_numpy(heatmaps) if isinstance(heatmaps, torch.Tensor) else np.asarray(heatmaps)
            flat = maps.reshape(len(maps), -1)
            least = 0.4 if fields.get("notRescaled") else 0.99
            assert (flat.max(1) > least).all() and (flat.std(1) > 0.02).all(), (name, flat.max(1), flat.std(1))
            assert len(flat) < 2 or np.abs(flat[0] - flat[1]).max() > 0.02, (name, "the images have one map")
            expected = {"heatmaps": maps, **expected}
            note = f"std {flat.std(1).min():.3f}"
            if check is not None and self.single:
                other = as_numpy(check) if isinstance(check, torch.Tensor) else np.asarray(check)
                difference = float(np.abs(other - maps).max())
                assert difference <= AGREEMENT, (name, "by hand and the library differ by", difference)
                note += f"  by hand {difference:.1e}"
        fields.pop("notRescaled", None)
        self.results[name] = expected
        if not self.single:
            return
        for key, value in expected.items():
            if isinstance(value, (np.ndarray, torch.Tensor)):
                assert float(abs(value).max()) > 0, (name, key, "is zero")
        case = {
            "name": name,
            "group": self.group,
            "description": description,
            "method": method,
            "model": self.models[model][0],
        }
        case["inputs" if isinstance(self.inputs[model], list) else "input"] = self.inputs[model]
        if layers is not None:
            case["targetLayers"] = layers
        case["targets"] = self.stored(f"{name}.target", targets)
        if options:
            case["options"] = self.stored(f"{name}.option", options)
        case.update(self.stored(name, fields))
        case["expected"] = self.stored(name, expected)
        case["referenceError"] = errors_of(expected, self.single.results[name], name, largestError)
        case["source"] = source
        self.cases.append(case)
        print(f"{self.group:10s} {name:40s} {case['referenceError']} {note}", flush=True)

    def scores(self, model, targets) -> list:
        """Each image's target value, of the model's own output."""
        _, module, *inputs = self.models[model]
        with torch.no_grad():
            outputs = module(*inputs)
        return [float(target(row).sum()) for target, row in zip(library.new_targets(targets), outputs, strict=True)]

    def finish(self) -> None:
        (self.folder / "golden.json").write_text(json.dumps({"cases": self.cases}, indent=1) + "\n")
        stale = sorted(p.name for p in self.folder.iterdir() if p.name not in self.files | {"golden.json"})
        total = sum(p.stat().st_size for p in self.folder.iterdir())
        print(
            f"{len(self.cases)} cases, {len(self.files)} files, {total / 1e6:.2f} MB", "stale:" if stale else "", *stale
        )
