# make demo: start the sandbox, harvest it, show the result.
set -eu
rm -rf demo
mkdir demo
: > demo/sandbox.env
"$BIN/harvester" sandbox --port 0 > demo/sandbox.env &
sandbox=$!
trap 'kill $sandbox' EXIT
until grep -q '^# ready' demo/sandbox.env; do
  kill -0 $sandbox
  sleep 0.1
done
. ./demo/sandbox.env

set -- run --search 'data' --account --output demo/harvest --rate 50
echo "harvester $*     # against the sandbox, whose addresses are in demo/sandbox.env"
"$BIN/harvester" "$@"

echo
echo "In demo/harvest:"
ls -p demo/harvest
echo
head -n 4 demo/harvest/items.csv | cut -c 1-110
echo "..."
cat <<'END'

Try next:
  . .venv/bin/activate                                       # puts harvester on the PATH of this terminal
  harvester status demo/harvest
  harvester verify demo/harvest
  harvester sandbox                                          # in another terminal; paste its exports here
  harvester run --search ':category: "Digital Humanities"'   # kill it, run it again: it resumes
  harvester init                                             # a commented config to start from
END
