"""The rooms of the house: who may import whom, and what a node agent must do without."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("schemas", "producers", "streams", "evaluation", "wattledger")
ALLOWED = {
    "schemas": {"schemas"},
    "producers": {"producers", "schemas"},
    "streams": {"streams", "schemas"},
    "evaluation": {
        "evaluation",
        "schemas",
        "producers.simulation",
        "streams.attribution",
        "streams.uncertainty",
    },
    "wattledger": set(ROOMS),
}
HEAVY = ("faust", "chdb", "clickhouse_connect", "pyarrow", "numba", "matplotlib", "jinja2")


def imports(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def inside(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room):
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in (ROOT / room).rglob("*.py")
        for module in imports(path)
        if any(inside(module, other) for other in ROOMS)
        and not any(inside(module, allowed) or inside(allowed, module) for allowed in ALLOWED[room])
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "module", ["wattledger.__main__", "streams.attribution", "schemas.frames", "schemas.topics"]
)
def test_the_base_needs_no_heavy_library(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_module_begins_with_a_sentence_of_purpose():
    silent = [
        str(path.relative_to(ROOT))
        for room in (*ROOMS, "benchmarks", "tools")
        for path in (ROOT / room).rglob("*.py")
        if "_pb2" not in path.name and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        named += extra
    documented = (ROOT / "docs" / "dependencies.md").read_text()
    names = {line.split(";")[0].split(">")[0].split("=")[0].split("[")[0].strip() for line in named}
    assert [
        name for name in sorted(names) if f"| {name}" not in documented and f", {name}" not in documented
    ] == []
