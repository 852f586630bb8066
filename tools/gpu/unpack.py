"""Unpacks the archive of npm run pack:gpu into a checkout, unless that was done already.

    python unpack.py ARCHIVE CHECKOUT

With Python, which is there and knows xz; the machine may lack the program.
"""

import hashlib
import pathlib
import shutil
import sys
import tarfile

archive, checkout = (pathlib.Path(path) for path in sys.argv[1:])
kit = checkout / "build-variants" / "gpu"
unpacked = [checkout / "node_modules", checkout / "dist", kit]
# Says whose the folders are: empty while they are being filled, then the archive's checksum.
mark = checkout / "build-variants" / "gpu-archive"

digest = hashlib.sha256(archive.read_bytes()).hexdigest()
there = mark.read_text() if mark.exists() else None
if there == digest and all(folder.exists() for folder in unpacked):
    print("the archive is unpacked already")
    sys.exit()
if there is None:
    for folder in unpacked:
        if folder.exists():
            sys.exit(f"{folder} is there and is not of an archive. Use a checkout of its own.")

print("unpacking")
mark.parent.mkdir(exist_ok=True)
mark.write_text("")
for folder in unpacked:
    shutil.rmtree(folder, ignore_errors=True)
with tarfile.open(archive, "r:xz") as content:
    if hasattr(tarfile, "data_filter"):
        content.extractall(checkout, filter="data")
    else:
        content.extractall(checkout)
mark.write_text(digest)
