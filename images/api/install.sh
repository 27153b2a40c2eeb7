#!/bin/sh
# Installs the api's image: install.sh DIST TARGET, DIST as wheel.sh left it, TARGET a virtual environment to make.
# The Dockerfile runs this, and so do the tests: what goes into the image is what they ran.
set -eu
dist=$1
target=$2
"${PYTHON:-python3}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
    -r "$dist/requirements-api.txt"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$dist"/wattledger-*.whl
"$target/bin/python" -m pip check
"$target/bin/python" -m compileall -q "$target/lib"
cp "$dist/sbom-api.cdx.json" "$target/sbom.cdx.json"

# The API reads: no stream processor, no Kafka client, no embedded database.
"$target/bin/python" - <<'PYTHON'
import importlib.util

unwanted = ["faust", "aiokafka", "chdb", "confluent_kafka", "pynvml"]
found = [name for name in unwanted if importlib.util.find_spec(name)]
assert not found, f"these have no business in this image: {found}"
PYTHON
for command in api; do "$target/bin/wattledger" "$command" --help >/dev/null; done
"$target/bin/python" -m pip uninstall --quiet --yes pip
