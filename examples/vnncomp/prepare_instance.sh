#!/usr/bin/env bash
# Called by VNN-COMP before each instance: version, category, network and property. Says by its exit code whether certnet
# reads both, which lets instances of other networks be skipped. Nothing is kept for the run that follows.
set -euo pipefail
[ "${1:-}" = v1 ] || { echo "expected the interface version v1, not ${1:-nothing}" >&2; exit 1; }
certnet=$(dirname "$0")/.venv/bin/certnet
[ -x "$certnet" ] || certnet=certnet
# A thousandth of a second decides nothing much, and bad input is exit code 2 all the same.
code=0
"$certnet" verify "$3" "$4" --time-limit 0.001 >/dev/null || code=$?
case $code in 0 | 1 | 3) exit 0 ;; *) exit 1 ;; esac
