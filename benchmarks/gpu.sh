#!/usr/bin/env bash
# Eight minutes on a GPU machine that reaches no network.
#   benchmarks/gpu.sh wheels [FOLDER]        here: fetch what such a machine lacks beside torch (default folder: .whl)
#                                            after the last commit, which is noted there;
#                                            WITHOUT="av bitsandbytes" leaves large ones out (all: 128 MB, av 35,
#                                            rasterio 39, bitsandbytes 43), and what needs them says so in its row
#   benchmarks/gpu.sh run OUTPUT [FOLDER]    there: install from FOLDER alone, run every section, leave JSON in OUTPUT
#   python benchmarks/gpu_table.py --write   here, with OUTPUT as benchmarks/gpu_results: tables and cards
# The machine is taken to have Python 3.12 with torch, triton, lightning, torchmetrics, timm, peft, transformers, h5py,
# numba, scipy, matplotlib, safetensors and pytest. PYTHON_VERSION says otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${PYTHON_VERSION:-3.12}
tag=cp${version/./}

wheels() {
  local to=${1:-.whl} platforms=() n name
  local needed=(omegaconf platformdirs rich packaging filelock pyyaml markdown-it-py mdurl pygments)
  local media=(av soundfile cffi pycparser open_clip_torch ftfy wcwidth gguf rasterio affine cligj click click-plugins
    attrs pyparsing certifi laspy lazrs trimesh tensorboard bitsandbytes hypothesis sortedcontainers pytest-xdist
    execnet mamba-ssm einops)
  mkdir -p "$to"
  for n in 2_39 2_35 2_34 2_31 2_28 2_27 2_24 2_17 2_12 2_5; do platforms+=(--platform "manylinux_${n}_x86_64"); done
  platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
  for name in "${needed[@]}" "${media[@]}"; do
    [[ " ${WITHOUT:-} " == *" $name "* ]] && continue
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
      --abi "$tag" --abi abi3 --abi none "${platforms[@]}" -d "$to" "$name" 2>/dev/null || echo "no wheel of $name"
  done
  # A copy of the files without their history still says which commit its numbers are of: the one that is here now.
  rm -f "$to/COMMIT"
  [[ -n $(git status --porcelain --untracked-files=no) ]] || git rev-parse HEAD >"$to/COMMIT"
  du -sh "$to"
}

run() {
  local out=$1 from=${2:-.whl} site
  site=$(mktemp -d)
  if [[ -f $from/COMMIT ]]; then BENCHMARK_COMMIT=$(<"$from/COMMIT") && export BENCHMARK_COMMIT; fi
  # Nothing that is there already is replaced: only what cannot be imported is taken from the wheels.
  python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" "$from"/*.whl
  PYTHONPATH="$PWD:${PYTHONPATH:-}:$(python3 -c 'import site; print(site.getsitepackages()[0])'):$site" \
    python3 benchmarks/gpu.py output="$out"
}

case "${1:-}" in
  wheels) wheels "${2:-}" ;;
  run) run "${2:?where the JSON goes}" "${3:-}" ;;
  *) sed -n '2,10p' "$0"; exit 2 ;;
esac
