#!/usr/bin/env bash
# Trains, measures and exports models/default: the run on all domains, the same recipe without each of the four attack
# domains, a temporal head on the first one's frozen encoder, and a bundle of each.
#
#   recipes/default/train.sh DATA PUBLIC INIT PEERS RUNS BUNDLE VERSION
#
# DATA: a folder like ../shared/pad-data; PUBLIC: what recipes/default/public_faces.py makes; INIT: ImageNet weights
# of MobileNetV2; PEERS: folder of the two networks of Silent-Face-Anti-Spoofing, which are learned from. Two lanes of
# one core each: about two hours on two cores without AVX-512 that do nothing else. What is done is kept in RUNS; the
# same command goes on. Afterwards `make evaluate HELD_OUT=RUNS` measures all five bundles through the service.
set -euo pipefail
# Two runs of one thread see 1.7 times as many pictures a second as one of two threads after the other; and freed memory
# is kept for the next iteration, since to get it back from the system costs a third of one.
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

run() { # NAME INIT OPTIONS…: unless it has ended
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

# Shorter, for time: what they show is taken for less than the whole, and the model card says so.
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
  wait "$lane" || failed=1  # the other one is worth ending
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
