#!/usr/bin/env bash
# Measure the paper's components on public data: leave-one-domain-out over the four attack domains of a folder like
# ../shared/pad-data (see docs/training.md for its format). Settings are `paper_mean` but for those set below.
#
#   recipes/paper/leave_one_domain_out.sh DATA INIT RUNS
#
# INIT: ImageNet weights of MobileNetV2. Environment: STEPS, SIZE and SEEDS of each run, CLIPS=1 for the rows with an LSTM
# too (replay_attack and nuaa, the targets that have clips), TRAIN for the command. Finished runs are kept in RUNS, and the
# same command goes on where it was stopped. The tables are printed at the end; benchmarks/RESULTS.md says what they showed.
set -euo pipefail
data=$1 init=$2 runs=$3
train=${TRAIN:-liveness-train}

targets=(--hold-out casia_fasd --hold-out replay_attack --hold-out nuaa --hold-out celeba_spoof)
with_clips=(--hold-out replay_attack --hold-out nuaa)
# A rate of 0.003 since short runs learn too little at 0.0003, and averaged weights since the last ones are largely chance.
settings=(--config paper_mean --size "${SIZE:-128}" --views 1 --init "$init" --seeds "${SEEDS:-3}" --workers 1
  --set encoder=mobilenet_v2 --set padding=tensorflow --set learning_rate=0.003 --set ema_decay=0.99
  --set augmentation=full --set short_clips=stretch --set "steps=${STEPS:-150}" --set workers=0
  --set checkpoint_every=1000)

"$train" ablate "$data" --table 4 "${targets[@]}" "${settings[@]}" --runs "$runs/discriminators" \
  --row ResNet --row 'ResNet + Dis' --row 'ResNet + DIB'
if [ "${CLIPS:-0}" = 1 ]; then
  "$train" ablate "$data" --table 3 "${with_clips[@]}" "${settings[@]}" --runs "$runs/clips"
fi
