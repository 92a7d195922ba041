#!/usr/bin/env bash
# From nothing to a trained model: installs what is missing, builds, gets real ratings, trains, predicts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case "${1:-}" in
  "") ;;
  -h | --help)
    echo "usage: ./quickstart.sh   installs what is missing (Debian 12, Ubuntu 24.04), builds, trains on real ratings"
    exit 0
    ;;
  *)
    echo "quickstart.sh: takes no arguments; see ./quickstart.sh --help" >&2
    exit 2
    ;;
esac

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }

say "1/4  Packages"
cmake/install_packages.sh build

say "2/4  Build (build/cpu)"
cmake/build.sh cpu
curate=build/cpu/bin/curate

say "3/4  Ratings"
if data=$(data/fetch.sh ml-latest-small); then
  :
elif [ $? -eq 3 ]; then
  echo "No real data set can be reached from here: making up ratings from a planted model instead." >&2
  data=data/downloads/synthetic
  [ -e "$data/ratings.csv" ] ||
    "$curate" data generate --out "$data" --users 700 --items 2000 --ratings 100000 --rank 6 --seed 1 >&2
else
  exit 1
fi

say "4/4  Train"
run=runs/quickstart
"$curate" train "$data" --split random:0.1 --out "$run" --overwrite

say "Five predictions for user 1 (curate predict $run --pairs FILE)"
pairs=$(mktemp)
trap 'rm -f "$pairs"' EXIT
# The most rated films: the last column of items.tsv counts training ratings.
tail -n +2 "$run/items.tsv" | sort -t "$(printf '\t')" -k5,5nr | awk -F '\t' 'NR <= 5 {print "1," $1}' >"$pairs"
"$curate" predict "$run" --pairs "$pairs" | python3 -c '
import csv, sys
for row in csv.DictReader(sys.stdin):
    print("  %.2f  %s" % (float(row["prediction"]), row["title"] or "item " + row["movieId"]))'

say "Done"
cat <<END
The run is in $run/: config.toml, history.csv, metrics.json, model.safetensors, users.tsv, items.tsv.
Next:
  $curate evaluate $run
  $curate train $data --model mf --dim 32 --epochs 40
  $curate train --help
END
