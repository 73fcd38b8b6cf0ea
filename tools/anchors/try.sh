#!/bin/sh
# Try each cell of docs/explanation/compared.md: run the same thing with each program and print what comes.
#
#   sh tools/anchors/try.sh             all points
#   sh tools/anchors/try.sh typos log   some of them
#   ONLY=rclone sh tools/anchors/try.sh log   one program
#
# Needs gh, rclone, aria2c, tmux (Debian's packages), hf (PyPI: huggingface_hub), ia (internetarchive), dvc and
# harvester on the PATH; a program that is not there is left out. No account and no network: all of them talk to
# tools/anchors/server.py and to `harvester sandbox`, on this machine.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
export HOME="$work" HF_ENDPOINT=http://127.0.0.1:8790 HF_HOME="$work/hf" http_proxy=http://127.0.0.1:8790
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 DVC_NO_ANALYTICS=1 GH_NO_UPDATE_NOTIFIER=1
WEB=http://127.0.0.1:8790
LINES_SHOWN=${LINES_SHOWN:-12}
cd "$work" || exit 3
(cd "$here" && exec python3 -m tools.anchors.server) &
server=$!
harvester sandbox --port 0 >sandbox.env 2>/dev/null &
sandbox=$!
trap 'kill $server $sandbox 2>/dev/null; rm -rf "$work"' EXIT
until grep -q '^# ready' sandbox.env; do
  kill -0 $sandbox || exit 3
  sleep 0.1
done
. ./sandbox.env
export HARVESTER_RATE_API=20 HARVESTER_RATE_STATS=20 HARVESTER_RATE_FILES=20
mkdir local && for name in one two three; do echo "$name" >local/$name.txt; done

# t COMMAND…: run it without a terminal; print its status and the first lines of both its streams.
t() {
  case "$*" in *"${ONLY:-}"*) ;; *) return ;; esac
  command -v "$1" >/dev/null || { echo "-- $1 is not installed"; return; }
  begin=$(date +%s%N)
  timeout "${LIMIT:-30}" "$@" >out 2>err </dev/null
  status=$?
  took=$((($(date +%s%N) - begin) / 1000000))
  printf '\n$ %s\n-> status %s, %s lines on stdout, %s on stderr, %s ms\n' "$*" $status \
    "$(wc -l <out)" "$(wc -l <err)" $took
  tr '\r' '\n' <out | grep . | tail -n "$LINES_SHOWN" | cut -c 1-200
  tr '\r' '\n' <err | grep . | tail -n "$LINES_SHOWN" | cut -c 1-200 | sed 's/^/err| /'
}

# screen WIDTH SECONDS 'COMMAND' [KEYS]: run it in a terminal of so many columns; print the screen after a while.
screen() {
  case "$3" in *"${ONLY:-}"*) ;; *) return ;; esac
  printf '\n$ %s   # %s columns, after %s s%s\n' "$3" "$1" "$2" "${4:+, then $4}"
  tmux -L anchors new-session -d -x "$1" -y 16 "sh -c 'trap : INT; $3; echo status \$?; sleep 30'"
  sleep "$2"
  if [ -n "${4:-}" ]; then tmux -L anchors send-keys "$4"; sleep 3; fi
  tmux -L anchors capture-pane -p | grep . | sed 's/^/    |/'
  tmux -L anchors kill-server
  sleep 1
}

# signal NAME SECONDS COMMAND…: send a signal after a while; print the status and how long the end took.
signal() {
  name=$1 wait=$2
  shift 2
  case "$*" in *"${ONLY:-}"*) ;; *) return ;; esac
  command -v "$1" >/dev/null || return
  "$@" >out 2>err </dev/null &
  child=$!
  sleep "$wait"
  [ "$1" = sh ] && sleep 4 # two starts of dvc
  begin=$(date +%s%N)
  kill -s "$name" $child
  (sleep 15; kill -9 $child) 2>/dev/null &
  killer=$!
  [ "$name" = USR1 ] && { sleep 2; kill -0 $child 2>/dev/null && echo "still runs after USR1" && kill $child; }
  wait $child
  status=$?
  took=$((($(date +%s%N) - begin) / 1000000))
  kill $killer 2>/dev/null
  printf '\n$ %s   # SIG%s after %s s\n-> status %s, %s ms later\n' "$*" "$name" "$wait" $status $took
  cat out err | tr '\r' '\n' | grep . | tail -n 4 | cut -c 1-200
}

empty() { rm -rf demo out_* d .dvc; }
download_hf() { t hf download anchors/demo --local-dir out_hf "$@"; }
download_ia() { t ia -i download demo "$@"; }
download_rclone() { t rclone copy :http:files/ out_rclone --http-url $WEB "$@"; }
download_aria2c() { t aria2c -x1 -d out_aria2c $WEB/files/big.bin "$@"; }
download_dvc() { (rm -rf out_dvc; mkdir -p out_dvc; cd out_dvc && dvc init --no-scm -q && t dvc get-url $WEB/files/big.bin "$@"); }
run() { t harvester run --search ':category: "Digital Humanities"' -o out_harvester "$@"; }

first() { for each in gh rclone hf ia dvc aria2c harvester; do t $each; done; }
help() {
  for each in gh rclone hf ia dvc harvester; do t $each help; done
  t gh help pr; t rclone help copy; t rclone copy --help; t hf download --help; t ia download --help
  t dvc pull --help; t aria2c --help=#http; t harvester help run; t harvester run --help
}
typos() {
  t gh prr list; t rclone coppy a b; t hf downlaod x; t ia downlaod x; t dvc pul; t harvester rnu
  t gh pr list --limt 3; t rclone copy a b --transferz 3; t hf download x --revison y; t ia download x --checksm
  (mkdir -p d && cd d && dvc init --no-scm -q 2>/dev/null; t dvc pull --remot x)
  t aria2c --max-concurent-downloads=3 http://x/; t harvester run --serch data
}
values() {
  t gh pr list --limit x; t rclone copy a b --transfers x; t hf download x --max-workers x
  t ia download x --retries x; t dvc pull --jobs x; t aria2c -j x http://x/; t harvester run --search a --rate fast
  t gh pr list --state opn; t rclone copy a b --log-level DEBG; t hf download x --repo-type modl
  (mkdir -p d && cd d && dvc init --no-scm -q 2>/dev/null; t dvc config cache.type hardlnk)
  t aria2c --log-level=inf http://x; t harvester run --search a --type dateset
}
abbreviations() {
  t gh pr list --lim 3; t rclone copy local out_a --transf 2; t hf download anchors/demo --local-d out_b --dry
  t ia -i list demo --loc; t dvc --vers; t aria2c --max-concurrent-download=3 --dry-run=true $WEB/files/big.bin
  t harvester run --sea data
}
statuses() {
  t gh help exit-codes; t sh -c 'rclone help | grep -i exit'; t sh -c 'MANWIDTH=80 man rclone | grep -n "Exit code"'
  t sh -c 'hf --help | grep -i "exit"'; t sh -c 'ia --help | grep -i exit'; t sh -c 'dvc --help | grep -i exit'
  t sh -c 'MANWIDTH=80 man aria2c | grep -n "EXIT STATUS"'; t sh -c 'harvester run --help | grep -i -A6 "exit"'
  t rclone copy nowhere out_s; t rclone copy :http:nowhere/ out_s --http-url $WEB --retries 1
  t hf download anchors/nowhere/x; t hf download anchors/demo nothing.bin; t ia -i download nothing
  t aria2c -d out_s $WEB/files/nothing.bin
  (mkdir -p d && cd d && dvc init --no-scm -q 2>/dev/null; t dvc get-url $WEB/files/nothing.bin)
  t harvester run --item 99 -o out_status
}
quiet() {
  t rclone copy :http:partly/ out_q --http-url $WEB --retries 1 -q; t hf download anchors/partly --local-dir out_q --quiet
  t ia -i download partly -q --retries 1; t aria2c -q -d out_q $WEB/files/nothing.bin
  (mkdir -p d && cd d && dvc init --no-scm -q 2>/dev/null; t dvc get-url -q $WEB/files/nothing.bin)
  t harvester run --item 99 -o out_quiet -q; empty
}
dry() {
  download_rclone --dry-run; download_hf --dry-run; download_ia --dry-run; download_aria2c --dry-run=true
  t dvc pull --dry; t dvc repro --dry; run --dry-run; t harvester plan --search data -o out_plan; empty
}
progress() {
  for width in ${WIDTHS:-80}; do
    screen "$width" 5 "rclone copy :http:files/ out_rclone --http-url $WEB -P"
    screen "$width" 8 "hf download anchors/demo --local-dir out_hf"
    screen "$width" 5 "ia -i download demo"
    screen "$width" 5 "aria2c -x1 -d out_aria2c $WEB/files/big.bin"
    mkdir -p out_dvc && screen "$width" 14 "cd out_dvc; dvc init --no-scm -q; dvc get-url $WEB/files/big.bin"
    screen "$width" 12 "harvester run --search data -o out_harvester"
    empty
  done
}
narrow() { WIDTHS="40 60" progress; }
dumb() {
  screen 80 5 "TERM=dumb rclone copy :http:files/ out_rclone --http-url $WEB -P"
  screen 80 5 "TERM=dumb hf download anchors/demo --local-dir out_hf"; screen 80 5 "TERM=dumb ia -i download demo"
  screen 80 5 "TERM=dumb aria2c -x1 -d out_aria2c $WEB/files/big.bin"
  mkdir -p out_dvc && screen 80 14 "cd out_dvc; dvc init --no-scm -q; TERM=dumb dvc get-url $WEB/files/big.bin"
  screen 80 20 "TERM=dumb harvester run --search data -o out_harvester --progress-every 5s"; empty
}
interrupt() {
  screen 80 4 "rclone copy :http:files/ out_rclone --http-url $WEB -P" C-c
  screen 80 8 "hf download anchors/demo --local-dir out_hf" C-c; screen 80 4 "ia -i download demo" C-c
  screen 80 4 "aria2c -x1 -d out_aria2c $WEB/files/big.bin" C-c
  mkdir -p out_dvc && screen 80 14 "cd out_dvc; dvc init --no-scm -q; dvc get-url $WEB/files/big.bin" C-c
  screen 80 12 "harvester run --search data -o out_harvester" C-c; empty
}
colour() {
  for each in "hf version" "aria2c --dry-run=true $WEB/files/big.bin" \
    "dvc pull" "rclone copy nowhere x --color AUTO" "ia -i list nothing" "harvester run --item 99 -o out_colour"; do
    case "$each" in *"${ONLY:-}"*) ;; *) continue ;; esac
    for no in "" 1; do
      printf '\n$ NO_COLOR=%s %s   # colours on a terminal: ' "$no" "$each"
      NO_COLOR=$no timeout 20 script -qec "$each" /dev/null 2>/dev/null </dev/null | grep -cE "$(printf '\033')\[([0-9]+;)*[349][0-7]"
    done
  done; empty
}
lines() {
  download_rclone --stats 3s --stats-one-line -v; download_hf; download_ia; download_aria2c --summary-interval=3
  download_dvc; LIMIT=60 t harvester run --search data -o out_harvester --progress-every 5s; empty
}
log() {
  download_rclone --log-file out_rclone.log --log-level INFO; t head -n 3 out_rclone.log; t sh -c 'rclone help flags | grep -i log-'
  download_aria2c --log=out_aria2c.log --log-level=notice; t head -n 3 out_aria2c.log; t ia -l -i download demo -q
  t sh -c 'ls *.log; hf download --help | grep -i log; dvc get-url --help | grep -i log'
  t sh -c 'harvester run --help | grep -i -A2 -e --log'
  run --log-file out_harvester.log; t head -n 3 out_harvester.log; empty
}
json() {
  download_rclone --use-json-log -v; t rclone copy a b --use-json-log --transferz 3; t rclone lsjson local
  t gh pr list --json; t hf download anchors/demo --dry-run --json; t hf download anchors/demo --format json --dry-run
  t ia -i metadata demo; t dvc status --json; t dvc get-url --json; run --log-json
  t harvester run --log-json --rate fast; t harvester status --json -o out_harvester
  for each in run plan list status failed verify export init; do
    printf '%s --json: ' $each; harvester $each --help 2>/dev/null | grep -c -e --json
  done; empty
}
completion() {
  t sh -c 'gh completion -s bash | wc -l'; t sh -c 'rclone completion bash | wc -l'; t sh -c 'dvc completion -s bash | wc -l'
  t hf --show-completion; t ia completion; t sh -c 'ls /usr/share/bash-completion/completions | grep -E "aria2|rclone|^gh"'
  t sh -c 'for shell in bash zsh fish; do harvester completion $shell | wc -l; done'
}
manual() { for each in gh rclone aria2c hf ia dvc harvester; do t sh -c "man -w $each || true"; done; }
config() {
  t gh config list; t rclone config file; t rclone config dump; t sh -c 'hf env | head -5'; t ia configure --show
  (mkdir -p d && cd d && dvc init --no-scm -q 2>/dev/null; t dvc config --list --show-origin); t aria2c --show-console-readout; t harvester config
}
doctor() { t gh auth status; t rclone config reconnect x:; t rclone about local; t hf auth whoami; t hf env; t ia configure --whoami; t dvc doctor; t harvester doctor; }
two() {
  harvester run --search data -o out_harvester -q & first_run=$!; sleep 8
  t harvester run --search data -o out_harvester; t harvester run --wait 5 --search data -o out_harvester
  kill $first_run; wait $first_run; rm -rf out_harvester
  [ -z "${ONLY:-}" ] || return
  rclone copy :http:files/ out_two --http-url $WEB & first_run=$!; sleep 1
  t rclone copy :http:files/ out_two --http-url $WEB; wait $first_run
  hf download anchors/demo --local-dir out_hf 2>/dev/null & first_run=$!; sleep 2; download_hf; wait $first_run
  (http_proxy=$http_proxy ia -i download demo) 2>/dev/null & first_run=$!; sleep 2; download_ia; wait $first_run; ls -l demo/big.bin
  aria2c -q -x1 -d out_aria2c $WEB/files/big.bin & first_run=$!; sleep 1; download_aria2c; wait $first_run; ls out_aria2c
  (mkdir -p d && cd d && dvc init --no-scm -q; dvc import-url -q $WEB/files/big.bin & first_run=$!; sleep 3
    t dvc import-url $WEB/files/small_1.bin; LIMIT=40 t dvc --wait-for-lock import-url $WEB/files/small_2.bin; wait $first_run)
  empty
}
resume() {
  for each in "rclone copy :http:files/ out_rclone --http-url $WEB -v" "hf download anchors/demo --local-dir out_hf" \
    "ia -i download demo" "aria2c -x1 -d out_aria2c $WEB/files/big.bin" "harvester run --search data -o out_harvester"; do
    LIMIT=5 t $each; LIMIT=60 t $each
  done
  (mkdir -p out_dvc && cd out_dvc && dvc init --no-scm -q; LIMIT=6 t dvc get-url $WEB/files/big.bin; t dvc get-url $WEB/files/big.bin); empty
}
signals() {
  for name in TERM HUP USR1; do
    signal $name 3 rclone copy :http:files/ out_rclone --http-url $WEB
    signal $name 3 hf download anchors/demo --local-dir out_hf; signal $name 3 ia -i download demo
    signal $name 3 aria2c -x1 -d out_aria2c $WEB/files/big.bin
    mkdir -p out_dvc; signal $name 4 sh -c "cd out_dvc; dvc init --no-scm -q; exec dvc get-url $WEB/files/big.bin"
    signal $name 12 harvester run --search data -o out_harvester --rate 1; empty
  done
}
damage() { printf x | dd of="$1" bs=1 seek=1 conv=notrunc 2>/dev/null; }
verify() {
  t rclone copy local out_rclone; damage out_rclone/two.txt; t rclone check local out_rclone --combined -
  download_hf; damage out_hf/small_1.bin; t hf cache verify anchors/demo --local-dir out_hf
  download_ia; damage demo/small_1.bin; download_ia; download_ia --checksum
  (mkdir -p d && cd d && cp -r ../local . && dvc init --no-scm -q && dvc add -q local; damage local/two.txt; t dvc status; t dvc data status)
  download_aria2c; t aria2c -d out_aria2c -V --checksum=md5=00000000000000000000000000000000 $WEB/files/big.bin
  run; damage "$(find out_harvester/files -type f | head -n 1)"; t harvester verify -o out_harvester; empty
}
nothing() {
  download_rclone --include '*.CSV' -v; download_rclone --include '*.CSV' --error-on-no-transfer; download_hf --include '*.CSV'; download_ia --glob '*.CSV'; t ia -i download nothing
  t ia -i list nothing; mkdir out_none; t rclone copy out_none out_rclone -v; t aria2c -i /dev/null
  run --include '*.NOTHING'; t harvester run --search ':categry: x' -o out_empty
  t harvester run --search ':categry: x' -o out_empty --fail-if-empty; empty
}
partial() {
  t rclone copy :http:partly/ out_rclone --http-url $WEB --retries 1; t hf download anchors/partly --local-dir out_hf
  t ia -i download partly --retries 1; t aria2c -d out_aria2c -Z $WEB/files/small_1.bin $WEB/files/nothing.bin
  t harvester run --item 99 --item 5000001 -o out_harvester; empty
}

[ $# -gt 0 ] || set -- first help typos values abbreviations statuses quiet dry progress narrow dumb interrupt colour \
  lines log json completion manual config doctor two resume signals verify nothing partial
for point in "$@"; do
  printf '\n==== %s ====\n' "$point"
  "$point"
done
