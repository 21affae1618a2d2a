#!/usr/bin/env bash
# Train, measure and export models/default. There are six runs: one on all domains, a temporal head on its frozen
# encoder, and four of the same recipe that each leave out one attack domain. A bundle is exported for the first two
# together and for each of the four.
#
#   recipes/default/train.sh DATA PUBLIC INIT PEERS RUNS BUNDLE VERSION
#
# DATA: a folder like ../shared/pad-data; PUBLIC: the folder that recipes/default/public_faces.py made; INIT: ImageNet
# weights of MobileNetV2; PEERS: the folder of the two networks of Silent-Face-Anti-Spoofing, the teacher. Two runs at a
# time, on one core each, take about two hours in all on two idle cores without AVX-512. Finished runs are kept in RUNS,
# and the same command goes on where it was stopped. Afterwards `make evaluate HELD_OUT=RUNS` measures all five bundles
# through the service.
set -euo pipefail
# Two runs of one thread side by side see 1.7 times as many pictures a second as runs of two threads one after the other.
# The settings of malloc keep freed memory for the next iteration: to get it back from the system costs a third of one.
export OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=200000000
data=$1 public=$2 init=$3 peers=$4 runs=$5 bundle=$6 version=$7
train=${TRAIN:-liveness-train}

domains=(replay_attack casia_fasd nuaa celeba_spoof)
teacher=(--teacher "$peers/silent_face_2.7_80x80.onnx" --teacher "$peers/silent_face_4.0_80x80.onnx")
common=(--size 160 --set workers=0)
licences=(
  --licence 'replay_attack=Idiap Replay-Attack, non-commercial research under an agreement with Idiap'
  --licence 'casia_fasd=CASIA-FASD, non-commercial research under an agreement with its owners'
  --licence 'nuaa=NUAA Photograph Imposter Database, research'
  --licence 'celeba_spoof=subsets of CelebA-Spoof, non-commercial research'
  --licence 'lfw_gray=Labeled Faces in the Wild, grey, live only, research'
  --licence 'lfw_colour=Labeled Faces in the Wild, live only, research'
  --licence 'public=pictures from public repositories, terms not stated (recipes/default/public_faces.py names them)'
)

run() { # NAME INIT OPTIONS…: train the run, unless it has ended already
  local folder="$runs/$1" start=$2
  shift 2
  [ -e "$folder/metrics.json" ] || "$train" train "$data" "$public" --run "$folder" --resume --init "$start" "${common[@]}" "$@"
}

recipe=(--config default_bundle "${teacher[@]}")

on_all() {
  run all "$init" "${recipe[@]}"
  run head "$runs/all" --set frozen=true --set lstm=true --set simulate=true --set short_clips=stretch \
    --set steps=100 --set clips_per_domain=3 --set grey_share=0.5
}

# Shorter, to save time. Figures of unseen domains therefore come from shorter runs, and the model card says so.
without_each() {
  for domain in "${domains[@]}"; do
    run "without-$domain" "$init" "${recipe[@]}" --hold-out "$domain" --set steps=400
  done
}

lanes=()
for lane in on_all without_each; do
  "$lane" &
  lanes+=("$!")
done
failed=0
for lane in "${lanes[@]}"; do
  wait "$lane" || failed=1  # let the other lane finish first
done
[ "$failed" = 0 ]

held_out=()
for domain in "${domains[@]}"; do
  held_out+=(--held-out "$runs/without-$domain")
  [ -e "$runs/bundles/without-$domain" ] ||
    "$train" export "$runs/without-$domain" "$runs/bundles/without-$domain" --precision int8 "${licences[@]}"
done
"$train" export "$runs/head" "$bundle" --version "$version" --precision int8 --precision fp16 \
  --failures "$(dirname "$0")/evaluation/failures.md" \
  "${held_out[@]}" "${licences[@]}"

# Settings and figures of all runs in one file: recipes/default/runs.json is that of the bundle in models/default.
"${PYTHON:-python3}" - "$runs" all head "${domains[@]/#/without-}" <<'END'
import json, pathlib, sys

folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
files = {"settings": "run.json", "metrics": "metrics.json"}
runs = {name: {key: json.loads((folder / name / file).read_text()) for key, file in files.items()} for name in names}
(folder / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
END
