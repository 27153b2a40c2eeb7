#!/bin/sh
# Puts the hook into an engine's own Python: install.sh DIST. The engine's NumPy and Protobuf stay as they are.
set -eu
python3 -m pip install --quiet --disable-pip-version-check --no-deps "$1"/wattledger-*.whl
python3 -m pip install --quiet --disable-pip-version-check "click>=8.2" "pyyaml>=6.0.2" "zstandard>=0.23"
python3 -c "import producers.hooks.middleware, producers.hooks.recorder, schemas.frames"
