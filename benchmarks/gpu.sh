#!/bin/sh
# Everything that docs/speed.md wants to know of one GPU, in one table and at most ten minutes.
#
#     benchmarks/gpu.sh [--reference DIR] [...]      DIR: a checkout of the authors' repository
#
# Any Python will do that has torch, diffusers, pydantic and rich: PYTHON=... names it. Ray and torch-fidelity are not needed.
cd "$(dirname "$0")/.." || exit 1
exec timeout 600 "${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}" benchmarks/gpu.py "$@"
