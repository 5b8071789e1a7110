#!/usr/bin/env bash
# Called once by VNN-COMP, with the version of its interface. Installs certnet from the checkout that this script is in.
set -euo pipefail
[ "${1:-}" = v1 ] || { echo "expected the interface version v1, not ${1:-nothing}" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
python3 -m venv "$here/.venv"
"$here/.venv/bin/python" -m pip install --quiet "$here/../..[onnx,vnnlib]"
