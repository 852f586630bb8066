"""Replaces a generated section of a page, which lies between two comments; page_section.mjs does the same for Node's tools."""

from pathlib import Path


def write_section(page: Path, name: str, text: str) -> None:
    begin, end = f"<!-- begin: {name} -->\n", f"\n<!-- end: {name} -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{before}{begin}{text}{end}{rest.split(end)[1]}", encoding="utf-8")
