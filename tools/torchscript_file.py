"""Saves TorchScript files without the source positions of the Python code, which hold the paths of the machine."""

import io
import zipfile
from pathlib import Path

import torch

# Written by PyTorchFileWriter itself.
WRITER_RECORDS = {"version", ".data/version", ".data/serialization_id"}


def contents(path: Path) -> dict:
    """Of each record its bytes; of code the sorted lines, for scripting writes a class's constants in random order."""
    with zipfile.ZipFile(path) as archive:
        records = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    return {
        name: sorted(record.splitlines()) if name.endswith(".py") else record
        for name, record in records.items()
        if name not in WRITER_RECORDS
    }


def save_torchscript(module: torch.jit.ScriptModule, path: Path) -> None:
    """Like module.save(path), less the *.debug_pkl records. A file that has the same model already stays as it is."""
    before = (path.read_bytes(), contents(path)) if path.exists() else None
    write(module, path)
    if before and before[1] == contents(path):
        path.write_bytes(before[0])


def write(module: torch.jit.ScriptModule, path: Path) -> None:
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    reader = torch._C.PyTorchFileReader(buffer)
    names = reader.get_all_records()
    version = ".data/version" if ".data/version" in names else "version"  # format 6 and later keep it in .data
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.set_min_version(int(reader.get_record(version)))
    for name in names:
        if name not in WRITER_RECORDS and not name.endswith(".debug_pkl"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
