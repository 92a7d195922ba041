#!/usr/bin/env bash
# Whether two builds of cuRate compute the same bits: see same_bits.sh --help.
exec python3 -B "$(dirname "${BASH_SOURCE[0]}")/same_bits.py" "$@"
