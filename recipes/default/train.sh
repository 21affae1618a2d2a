#!/usr/bin/env bash
# Train, combine, measure and export models/default: a committee of three published networks and one of our own, `context`,
# which has five runs of one recipe: on all domains, and without each of four. The members are combined on the domains
# that were kept out, and exported as one bundle; four more bundles of the same recipe each know nothing of one domain.
#
#   recipes/default/train.sh DATA LITE0 PUBLIC RUNS BUNDLE VERSION
#
# DATA: a folder like ../shared/pad-data. LITE0: ImageNet weights of EfficientNet-Lite0, the file that
# `liveness-train fetch-init` writes. PUBLIC: the folder of the published members' ONNX files and licences. Two runs at a
# time, on one core each, take about an hour in all on two cores without AVX-512. Finished runs are kept in RUNS, and the
# same command goes on where it was stopped. Afterwards `make evaluate HELD_OUT=RUNS` measures all five bundles through
# the service.
set -euo pipefail
# Two runs of one thread side by side see 1.7 times as many pictures a second as runs of two threads one after the other.
# The settings of malloc keep freed memory for the next iteration: to get it back from the system costs a third of one.
export OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=200000000
data=$1 lite0=$2 public=$3 runs=$4 bundle=$5 version=$6
here=$(dirname "$0") train=${TRAIN:-liveness-train} python=${PYTHON:-python3}

domains=(replay_attack casia_fasd nuaa celeba_spoof)
licences=(
  --licence 'replay_attack=Idiap Replay-Attack, non-commercial research under an agreement with Idiap'
  --licence 'casia_fasd=CASIA-FASD, non-commercial research under an agreement with its owners'
  --licence 'nuaa=NUAA Photograph Imposter Database, research'
  --licence 'celeba_spoof=subset of CelebA-Spoof, non-commercial research; one published member saw all of it'
  --licence 'lfw_gray=Labeled Faces in the Wild, grey, live only, research'
  --licence 'silent_face=a private set of its authors, terms not stated'
)

run() { # NAME OPTIONS…: train the run, unless it has ended already
  local folder="$runs/$1"
  shift
  [ -e "$folder/metrics.json" ] ||
    "$train" train "$data" --run "$folder" --resume --config member_context --init "$lite0" --size 160 --set workers=0 "$@"
}

# Shorter, to save time, and with a domain less for as many pictures an iteration.
without() {
  for domain in "$@"; do
    run "context-without-$domain" --hold-out "$domain" --set steps=180 --set images_per_domain=10
  done
}

lanes=()
{ run context-all && without "${domains[3]}"; } &
lanes+=("$!")
without "${domains[@]:0:3}" &
lanes+=("$!")
failed=0
for lane in "${lanes[@]}"; do
  wait "$lane" || failed=1 # let the other lane finish first
done
[ "$failed" = 0 ]

# Log-odds of the published members on every face; what the members are worth together, in RUNS/committee/tables.md.
for kind in "" grey; do
  scores="$runs/public${kind:+-$kind}.npz"
  [ -e "$scores" ] || "$python" "$here/committee_scores.py" "$data" "$public" "$scores" ${kind:+--$kind}
done
inputs=("$data" "$runs/public.npz")
"$python" "$here/committee.py" "${inputs[@]}" "$runs" "$runs/committee"

export RUNS PUBLIC
RUNS=$(realpath "$runs") PUBLIC=$(realpath "$public")
committee() { # SPEC BUNDLE OPTIONS…
  local spec=$1 made=$2
  shift 2
  "$python" "$here/committee_bundle.py" "${inputs[@]}" "$runs/public-grey.npz" "$runs" "$spec" --version "$version" \
    "${licences[@]}" "$@"
  "$train" committee "$spec/SPEC.yaml" "$made"
}
for domain in "${domains[@]}"; do
  [ -e "$runs/bundles/without-$domain" ] ||
    committee "$runs/committee/without-$domain" "$runs/bundles/without-$domain" --without "$domain"
done
committee "$runs/committee/all" "$bundle" --card "$here/evaluation/failures.md"

# Settings and figures of the runs in one file: recipes/default/runs.json is that of the bundle in models/default.
"$python" - "$runs" context-all "${domains[@]/#/context-without-}" <<'END'
import json, pathlib, sys

folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
files = {"settings": "run.json", "metrics": "metrics.json"}
runs = {name: {key: json.loads((folder / name / file).read_text()) for key, file in files.items()} for name in names}
(folder / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
END
