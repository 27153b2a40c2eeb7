"""These tests need SGLang's package, in an environment of its own: `make test-sglang` makes it and runs them."""

import sys
from importlib.util import find_spec
from pathlib import Path

collect_ignore_glob = ["test_*.py"] if find_spec("sglang") is None else []

sys.path.insert(0, str(Path(__file__).parents[2]))
