"""These tests need vLLM, in an environment of its own: `make test-vllm` makes it and runs them."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

collect_ignore_glob = ["test_*.py"] if find_spec("vllm") is None else []

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
