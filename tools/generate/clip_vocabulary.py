"""Makes lib/clip/vocabulary.txt.gz: the merges of CLIP's byte-pair encoding, as open_clip carries them.

Its file lists 262,144 merges, of which CLIP uses the first 48,894.
"""

import argparse
import gzip
from pathlib import Path

from open_clip.tokenizer import default_bpe

TARGET = Path(__file__).resolve().parents[2] / "lib" / "clip" / "vocabulary.txt.gz"
MERGES = 49152 - 256 - 2


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")[1 : MERGES + 1]
    assert len(lines) == MERGES and all(len(line.split()) == 2 for line in lines)
    TARGET.write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
