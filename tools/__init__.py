"""Programs of this package run from the repository's root: python -m tools.fixtures.family

TorchScript writes the full name of a model's Python module into its file. Modules whose models become files of the repository
are therefore imported by their own name, without the folders they lie in: moving them changes no file.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tools/fixtures/models", "tools/checks/fuzz_models", "tools/compare/models", "exporting")
sys.path += [str(ROOT / folder) for folder in FOLDERS]
