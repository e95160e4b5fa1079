#!/usr/bin/env bash
# What a GPU makes of it, in a few minutes: the first steps of each config at its zoo batch size in float32 and bfloat16, with their memory; the stock loop
# and tools/train.py in turn; the input pipelines alone; and then Faster R-CNN for as long as there is time.
#
#   bash benchmarks/gpu.sh --data workspace/records/rsna --out gpu --minutes 9
#   bash benchmarks/gpu.sh --device cpu --tiny --out gpu            # the same way through on a laptop, with numbers that mean nothing
#
# The installation, on a machine that reaches no package index: bring it as wheels, made on one that does, with the same Python and from this checkout
# (about 4 GB, of which 3 GB are CUDA's own libraries):
#
#   python tools/setup_api.py --wheel-dir wheels
#   pip wheel --wheel-dir wheels --constraint constraints.txt --find-links wheels '.[train,gpu]'
#
# and there, in a new environment:
#
#   pip install --no-index --find-links wheels 'pneumodet[train,gpu]' tf-object-detection-api && python -m pneumodet doctor
#
# The driver is the host's. Where the machine has CUDA libraries already, [train] without [gpu] and a tenth of the bytes are enough.
# Without --data it makes synthetic radiographs. All results lie in --out: steps.jsonl, loops.md, loops.json, faster_rcnn.log.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
data="" out="gpu" minutes=9 device=gpu tiny=""
while [ $# -gt 0 ]; do
  case "$1" in
    --data) data=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;;
    --device) device=$2; shift 2 ;;
    --tiny) tiny=1; shift ;;
    -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) echo "$1: unknown; known are --data, --out, --minutes, --device gpu|cpu, --tiny" >&2; exit 2 ;;
  esac
done
case "$device" in gpu|cpu) ;; *) echo "--device is '$device'; allowed: gpu, cpu" >&2; exit 2 ;; esac

end=$((SECONDS + minutes * 60))
python=${PYTHON:-python}
export TF_CPP_MIN_LOG_LEVEL=2
# memory as it is needed, so that two processes in turn do not depend on how fast the first one gives all of it back
export TF_FORCE_GPU_ALLOW_GROWTH=true
[ "$device" = cpu ] && export CUDA_VISIBLE_DEVICES=""
mkdir -p "$out"
out=$(cd "$out" && pwd)
# never 0, which timeout takes for no limit
left() { echo $((end > SECONDS ? end - SECONDS : 1)); }

if [ "$device" = gpu ]; then
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv | tee "$out/device.csv"
fi
if [ -z "$data" ]; then
  data=$out/records
  exams=600
  side=1024
  [ -n "$tiny" ] && exams=8 side=96
  if [ ! -f "$data/manifest.json" ]; then
    PYTHONPATH=$here/tools "$python" -c "
import pathlib
from pneumodet.data import synthetic
synthetic.make_dataset(pathlib.Path('$out/source'), exams=$exams, size=$side)"
    "$python" "$here/tools/make_tfrecords.py" --dicom-dir "$out/source/stage_2_train_images" --labels "$out/source/stage_2_train_labels.csv" \
      --masks --val-fraction 0.25 --test-fraction 0 --output-dir "$data" --overwrite > "$out/records.log" 2>&1
  fi
fi

# the cheap ones first: what there is no time for, is missing at the end
configs="ssd_mobilenet ssd_mobilenet_fpnlite efficientdet_d0 faster_rcnn_mobilenet_fpn retinanet_resnet50 faster_rcnn_resnet50 mask_rcnn_resnet50 ssd_mobilenet_fpnlite_640 faster_rcnn_resnet101"
few=()
loops=(--batch-size 64 --steps 200 --bare-steps 40 --batches 40 --rounds 1)
small=()
if [ -n "$tiny" ]; then
  configs="ssd_mobilenet"
  small=(--set model.ssd.image_resizer.fixed_shape_resizer.height=96 --set model.ssd.image_resizer.fixed_shape_resizer.width=96)
  few=(--batch-size 2 --steps 1)
  loops=(--batch-size 2 --steps 41 --bare-steps 2 --batches 2 --rounds 1)
fi

: > "$out/steps.jsonl"
# a third of the time for the loops, which are what is compared; a third at the least for Faster R-CNN
for config in $configs; do
  for precision in float32 bfloat16; do
    if [ "$(left)" -lt $((minutes * 60 * 2 / 3)) ]; then
      echo "no time left for $config in $precision" >&2
      continue
    fi
    timeout "$(left)" "$python" "$here/benchmarks/gpu_step.py" --data "$data" --config "$config" --precision "$precision" --device "$device" \
      ${few[@]+"${few[@]}"} ${small[@]+"${small[@]}"} 2> "$out/$config-$precision.log" | tee -a "$out/steps.jsonl" || true
  done
done

timeout "$(left)" "$python" "$here/benchmarks/train.py" --data "$data" --data-small "$data" --config ssd_mobilenet --what loops input \
  --variant "bfloat16=--precision bfloat16" --scratch "$out" --json "$out/loops.json" "${loops[@]}" ${small[@]+"${small[@]}"} \
  | tee "$out/loops.md" || echo "the loops did not come to their end" >&2

if [ -z "$tiny" ] && [ "$(left)" -gt 60 ]; then
  # ends like by Ctrl-C, with a checkpoint
  PNEUMODET_WORKSPACE=$out timeout --signal=INT "$(left)" "$python" "$here/tools/train.py" --config faster_rcnn_resnet50 --data "$data" \
    --run faster_rcnn --precision bfloat16 --batch-size 16 --steps 20000 --evaluate-every 500 > "$out/faster_rcnn.log" 2>&1 || true
  tail -n 5 "$out/faster_rcnn.log"
fi
echo "Results: $out"
