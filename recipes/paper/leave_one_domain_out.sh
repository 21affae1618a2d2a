#!/usr/bin/env bash
# Measure the paper's components on public data: leave-one-domain-out over the four attack domains of a folder like
# ../shared/pad-data (see docs/training.md for its format), with the paper's settings except those set below.
#
#   recipes/paper/leave_one_domain_out.sh DATA INIT RUNS
#
# INIT: ImageNet weights of MobileNetV2. It takes three to four hours on two idle cores. Finished runs are kept in RUNS,
# and the same command goes on where it was stopped. The tables are printed at the end; docs/what-was-tried.md says what
# they showed.
set -euo pipefail
data=$1 init=$2 runs=$3
train=${TRAIN:-liveness-train}

targets=(--hold-out casia_fasd --hold-out replay_attack --hold-out nuaa --hold-out celeba_spoof)
with_clips=(--hold-out replay_attack --hold-out nuaa)
common=(--config paper --size 128 --workers 2 --set short_clips=stretch --set augmentation=full
  --set service_view_share=0.5 --set workers=1 --set checkpoint_every=1000)
mobilenet=("${common[@]}" --runs "$runs/mobilenet_v2" --init "$init"
  --set encoder=mobilenet_v2 --set padding=tensorflow --set "steps=${MOBILENET_STEPS:-150}")
resnet=("${common[@]}" --runs "$runs/resnet18" --set encoder=resnet18 --set "steps=${RESNET_STEPS:-200}")

images=(--row ResNet --row 'ResNet + DIB')
discriminators=(--row ResNet --row 'ResNet + Dis' --row 'ResNet + DIB')
clips=(--row ResNet --row 'ResNet + DIB' --row 'ResNet + LSTM' --row 'ResNet + LSTM + DVB'
  --row 'ResNet + DIB + LSTM' --row 'ResNet + DIB + LSTM + DVB')

"$train" ablate "$data" --table 3 "${targets[@]}" "${images[@]}" "${mobilenet[@]}" >/dev/null
"$train" ablate "$data" --table 4 "${targets[@]}" "${discriminators[@]}" "${mobilenet[@]}" >/dev/null
"$train" ablate "$data" --table 3 "${with_clips[@]}" "${clips[@]}" "${mobilenet[@]}" >/dev/null
"$train" ablate "$data" --table 4 "${targets[@]}" "${discriminators[@]}" "${resnet[@]}" >/dev/null
"$train" ablate "$data" --table 3 "${with_clips[@]}" "${clips[@]}" "${resnet[@]}" >/dev/null

for encoder in mobilenet_v2 resnet18; do
  [ "$encoder" = mobilenet_v2 ] && settings=("${mobilenet[@]}") || settings=("${resnet[@]}")
  echo "## $encoder, discriminators"
  "$train" ablate "$data" --table 4 "${targets[@]}" "${discriminators[@]}" "${settings[@]}"
  echo "## $encoder, clips"
  "$train" ablate "$data" --table 3 "${with_clips[@]}" "${clips[@]}" "${settings[@]}"
done
