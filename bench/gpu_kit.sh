#!/usr/bin/env bash
# Packs the CUDA engine here, checks and measures it on a machine with an NVIDIA GPU: see gpu_kit.sh --help.
exec python3 -B "$(dirname "${BASH_SOURCE[0]}")/gpu_kit/main.py" "$@"
