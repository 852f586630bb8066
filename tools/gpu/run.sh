#!/usr/bin/env bash
# Tests and measures on a GPU machine without Node and network; see docs/cuda-kit.md. Here is what Node is unpacked by, the
# rest is in run.mjs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
  cat <<'END'
Usage: bash tools/gpu/run.sh ARCHIVE [options]

Runs the CUDA tests and a short benchmark in this checkout, with what ARCHIVE (of
npm run pack:gpu) brings and the LibTorch of a Python's torch. report.json and log.txt
are written as it goes; run again after a kill, it goes on with what had not passed.

  --out FOLDER        where they are written (default: output/gpu)
  --python PYTHON     whose torch is used (default: python3)
  --cpu               a dry run without a GPU: a handful of tests on the CPU
  --only PART         tests, numbers or bench; the other's result stays in the report
  --concurrency N     how many test files at once (default: 1)
  --limit SECONDS     for all together (default: 530)
  --tests SECONDS     for the tests (default: 240)
  --bench SECONDS     for the benchmark (default: 200)

The exit code is 0 if every part passed.
END
}

archive="" python=python3 out="$root/output/gpu"
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --python) python=${2-} && shift ;;
    --out) out=${2-} && shift ;;
    --only | --concurrency | --limit | --tests | --bench) shift ;;
    --cpu) ;;
    -*) echo "There is no option $1." >&2 && usage >&2 && exit 2 ;;
    *) archive=$1 ;;
  esac
  shift || break
done
if [ ! -f "$archive" ] || [ -z "$python" ] || [ -z "$out" ]; then
  echo "The archive is missing: '$archive'" >&2
  usage >&2
  exit 2
fi

mkdir -p "$out"
if ! "$python" "$root/tools/gpu/unpack.py" "$archive" "$root" 2>&1 | tee -a "$out/log.txt"; then
  echo '{ "passed": false, "parts": { "archive": { "status": "failed", "message": "It was not unpacked: see log.txt." } } }' \
    >"$out/report.json"
  exit 1
fi
export PATH="$root/build-variants/gpu/node/bin:$PATH"
exec node "$root/tools/gpu/run.mjs" "${arguments[@]}"
