#!/usr/bin/env bash
# Builds, checks and measures the CUDA engine on a machine with an NVIDIA GPU and no network: see gpu_acceptance.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/gpu_acceptance.py" "$@"
