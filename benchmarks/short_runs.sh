#!/usr/bin/env bash
# Trains a small network by every method for a few hundred steps on each colour data
# set, judges all runs side by side and exports one. About an hour on 2 CPU cores.
#
#   benchmarks/short_runs.sh cifar10 CIFAR10_DIR runs/short
#   benchmarks/short_runs.sh tiny-imagenet TINY_IMAGENET_DIR runs/short
#   benchmarks/short_runs.sh images IMAGE_FOLDERS_DIR runs/short
set -euo pipefail
if [ $# -ne 3 ]; then
  sed -n '2,7p' "$0" >&2
  exit 2
fi
dataset=$1 data_dir=$2 output=$3/$1
case $dataset in
  cifar10 | images) size=(--network=convnet_16 --train_steps=400) ;;
  tiny-imagenet) size=(--network=convnet_8 --train_steps=300) ;;
  *) echo "short_runs.sh: unknown data set $dataset" >&2; exit 2 ;;
esac
runs=()
for method in um at alp tla tla_rn tla_sa; do
  "tla-train-$dataset" --method="$method" "${size[@]}" --batch_size=50 --negative_pool_size=100 \
    --learning_rate=0.05 --learning_rate_schedule=cosine --warmup_steps=20 --checkpoint_every=100 \
    --validation_examples=300 --data_dir="$data_dir" --output_dir="$output/$method"
  runs+=("$output/$method")
done
tla-evaluate --run_dir="${runs[0]}" "${runs[@]:1}" --suite=quick --num_examples=500 --compare_dir="$output"
test -d "$output/tla/saved_model" || tla-export --run_dir="$output/tla"
