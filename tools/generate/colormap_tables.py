"""Writes lib/visualization/colours/colormap-tables.ts: the colours of OpenCV and matplotlib, 256 of each map, as bytes."""

import argparse
import base64
from importlib.metadata import version
from pathlib import Path

import cv2
import matplotlib
import numpy as np

TARGET = Path(__file__).resolve().parents[2] / "lib" / "visualization" / "colours" / "colormap-tables.ts"
LINE = 100
STEPS = np.arange(256)


def matplotlib_table(name: str) -> np.ndarray:
    return matplotlib.colormaps[name](STEPS, bytes=True)[:, :3]


TABLES = [
    ("jet", "OpenCV's COLORMAP_JET", cv2.applyColorMap(np.uint8(STEPS).reshape(1, -1), cv2.COLORMAP_JET)[0, :, ::-1]),
    ("matplotlib-jet", "matplotlib's jet, whose bands are a little wider", matplotlib_table("jet")),
    ("turbo", "matplotlib's turbo", matplotlib_table("turbo")),
    ("viridis", "matplotlib's viridis", matplotlib_table("viridis")),
    ("inferno", "matplotlib's inferno", matplotlib_table("inferno")),
    ("magma", "matplotlib's magma", matplotlib_table("magma")),
    ("diverging", "matplotlib's RdBu_r: blue, white in the middle, red", matplotlib_table("RdBu_r")),
    ("rainbow", "matplotlib's gist_rainbow", matplotlib_table("gist_rainbow")),
]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    lines = [
        f"// Made by tools/generate/colormap_tables.py from OpenCV {version('opencv-python-headless')} and matplotlib "
        f"{version('matplotlib')}. Do not edit.",
        "",
        "/** Each 256 times red, green and blue, in base64. */",
        "export const colormapTables = {",
    ]
    for name, comment, table in TABLES:
        encoded = base64.b64encode(np.ascontiguousarray(table, dtype=np.uint8).tobytes()).decode()
        parts = [encoded[at : at + LINE] for at in range(0, len(encoded), LINE)]
        key = name if name.isidentifier() else f"'{name}'"
        lines += [f"  // {comment}", f"  {key}:"]
        lines += [f"    '{part}' +" for part in parts[:-1]] + [f"    '{parts[-1]}',"]
    lines += ["} as const;", ""]
    TARGET.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
