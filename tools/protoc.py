"""Generate the Python code of schemas/proto/*.proto with the pinned compiler: `python -m tools.protoc`.

`columns_v1.proto` is itself generated: the messages of `frames_v1.proto` with every packed column declared as
`bytes`. Both have the same wire type, so either reads what the other writes; the second hands a column to
NumPy without making a Python integer of each entry.
"""

import re
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = Path("schemas/proto")
SOURCE = "frames_v1.proto"
COLUMNS = "columns_v1.proto"
GENERATED = (
    COLUMNS,
    "frames_v1_pb2.py",
    "frames_v1_pb2.pyi",
    "columns_v1_pb2.py",
    "columns_v1_pb2.pyi",
)
"""What this tool writes into schemas/proto/."""

HEADER = """\
// Generated from frames_v1.proto by `python -m tools.protoc`; do not edit.
// Every packed column as bytes: the same wire, for a reader that decodes all columns at once.

"""


def columns_of(source: str) -> str:
    """The same messages with each repeated numeric field as `bytes`."""
    body = source[source.index('syntax = "proto3";') :]
    body = body.replace("package wattledger.v1;", "package wattledger.v1.columns;")
    return HEADER + re.sub(r"repeated (?:sint32|sint64|uint32|uint64|fixed64) ", "bytes ", body)


def generate(root: Path, into: Path) -> None:
    """Write every generated file of `root`'s sources under `into`, which has the same layout."""
    source = (root / PROTO / SOURCE).read_text(encoding="utf-8")
    (into / PROTO).mkdir(parents=True, exist_ok=True)
    (into / PROTO / SOURCE).write_text(source, encoding="utf-8")
    (into / PROTO / COLUMNS).write_text(columns_of(source), encoding="utf-8")
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={into}",
            f"--python_out={into}",
            f"--pyi_out={into}",
            str(into / PROTO / SOURCE),
            str(into / PROTO / COLUMNS),
        ]
    )
    if code != 0:
        message = f"protoc exited with {code}"
        raise RuntimeError(message)


def stale(root: Path) -> list[str]:
    """Names of generated files under `root` that differ from what its sources generate now."""
    with tempfile.TemporaryDirectory() as fresh:
        generate(root, Path(fresh))
        return [
            name
            for name in GENERATED
            if not (root / PROTO / name).is_file()
            or (root / PROTO / name).read_bytes() != (Path(fresh) / PROTO / name).read_bytes()
        ]


def main() -> int:
    """Regenerate in place and say what changed."""
    changed = stale(ROOT)
    generate(ROOT, ROOT)
    print(f"regenerated: {', '.join(changed)}" if changed else "generated code is current")
    return 0


if __name__ == "__main__":
    sys.exit(main())
