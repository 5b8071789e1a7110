#!/usr/bin/env bash
# Called by VNN-COMP for each instance: version, category, network, property, file for the result, and seconds. The result
# is sat with a counterexample, unsat, unknown, timeout or error.
set -uo pipefail
[ "${1:-}" = v1 ] || { echo "expected the interface version v1, not ${1:-nothing}" >&2; exit 1; }
certnet=$(dirname "$0")/.venv/bin/certnet
[ -x "$certnet" ] || certnet=certnet
code=0
"$certnet" verify "$3" "$4" --time-limit "$6" >"$5.part" || code=$?
case $code in
    # VNN-LIB 2.0 has another word for it, and a file of version 1.0 has a sentence after unsat and unknown.
    0 | 3) head -n 1 "$5.part" | sed 's/^timed-out$/timeout/' >"$5" ;;
    1) cp "$5.part" "$5" ;;
    *) echo error >"$5" ;;
esac
rm -f "$5.part"
