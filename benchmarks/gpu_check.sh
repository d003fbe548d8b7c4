#!/usr/bin/env bash
# Tests and measures training on a machine with an NVIDIA GPU, without network, in two minutes.
#
#   bash benchmarks/gpu_check.sh
#
# $PYTHON names the interpreter (python3), $OUT a folder for the table (default: a new one).
# It needs torch with CUDA, pytest, and what core imports; Streamlit, Playwright, gensim, Keras and
# distributed may be missing.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
out="${OUT:-$(mktemp -d)}"
tests=(tests/core/training/test_cuda_graph.py tests/core/runs/test_gpu_runs.py)
processes=()
if "$python" -c "import xdist" 2>/dev/null; then
    processes=(-n 4)
fi
echo "== GPU tests"
began=$SECONDS
# INT, so that pytest says what has failed so far.
timeout --signal INT --kill-after 5 60 "$python" -m pytest -m gpu -q -p no:cacheprovider \
    --durations 5 --tb short "${processes[@]}" "${tests[@]}" 2>&1 | tail -n 120
tested=${PIPESTATUS[0]}
echo "== GPU tests ended with $tested after $((SECONDS - began)) s"
: >"$out/performance.md"
began=$SECONDS
timeout --signal INT --kill-after 5 100 "$python" -m benchmarks.speed_gpu \
    --rows 2000000 --rounds 2 --profile --out "$out/performance.md" 2>"$out/progress.txt"
measured=$?
if [ "$measured" -ne 0 ]; then
    tail -n 40 "$out/progress.txt"
fi
echo "== Measured, ended with $measured after $((SECONDS - began)) s"
exit $((tested > measured ? tested : measured))
