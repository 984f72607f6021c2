#!/bin/bash
# atlas-backup.sh [--config FILE] [--start-stopped]: backs up services that run on Incus.
#
# A run makes BACKUP_DIR/YYYYMMDDTHHMMSSZ/ (UTC), with one FILE and its FILE.sha256 for each export.
# It notes what it stops, and starts it again however it ends; after a kill -9 or a power cut the next
# run does that, or `--start-stopped` (which first waits for a run that is at work).
# Exit status: 0 all was made; 1 something FAILED, a line for each; 2 nothing was done; 128+n by signal n.
# Needs bash, coreutils, diffutils, findutils, util-linux, sed, awk, gpg and incus, on the machine of the server.
set -Eeuo pipefail
umask 077
shopt -s nullglob
export LC_ALL=C TZ=UTC HOME="${HOME:-/root}" # systemd's services have no HOME

# --- what is backed up: /etc/atlas-backup.conf, or --config FILE, may set any of these (in bash)
PROJECT=default
POOL=local
BACKUP_DIR=/backup/atlas                     # of this project alone
PASSPHRASE_FILE=/etc/atlas-backup.passphrase # mode 0600; keep a copy where the backups are not
STATE_DIR=/var/lib/atlas-backup              # notes of what is stopped: must survive a reboot
PROMETHEUS_DATA=/prometheus
START_SECONDS=120 # a unit that is not active so long after the start of its instance has FAILED
# "INSTANCE VOLUME KIND=HOW[/DAYS]... [unit=UNIT]". HOW: `live`, or `stop`: all that need it share one stop.
# What is older than DAYS is pruned, without DAYS nothing. KIND: snapshot; tarball (VOLUME.tar.zst);
# encrypted (VOLUME.tar.zst.gpg); tsdb (INSTANCE-tsdb.tar, the snapshot that Prometheus itself takes).
SERVICES=(
  "grafana01 grafana01-data snapshot=live/7 tarball=stop/14 unit=grafana"
  "prometheus01 prometheus01-data snapshot=live/14 tarball=stop/14 tsdb=live/14 unit=prometheus"
  "loki01 loki01-data snapshot=stop/14 tarball=stop/14 unit=loki"
  "step-ca01 step-ca01-data snapshot=live/28 encrypted=stop/28 unit=step-ca"
  "alertmanager01 alertmanager01-data snapshot=stop/7 tarball=stop/14 unit=alertmanager"
  "mosquitto01 mosquitto01-data snapshot=stop/7 tarball=stop/14 unit=mosquitto"
  "atlantis01 atlantis01-data snapshot=live/14 tarball=stop/14 unit=atlantis"
)
BUCKETS=("terraform-state atlas-terraform-state 30") # "POOL BUCKET [DAYS]": BUCKET.tar.gz, live

say() { printf '%s\n' "$*" 2>/dev/null || :; } # who read along may be gone: no reason to end
refuse() { say "atlas-backup: $*; nothing was done" >&2; exit 2; }
failed() { FAILED=$((FAILED + 1)); say "FAILED: $*" >&2; } # why, the program itself said just before
run() { "$@" & wait $!; } # so that a signal ends the wait at once, however long a stop or an export takes

CONFIG='' MODE=backup
while (($#)); do
  case $1 in
    --config) CONFIG=${2-}; shift 2 ;;
    --start-stopped) MODE=start; shift ;;
    *) refuse "unknown argument $1" ;;
  esac
done
[[ ! $CONFIG || -r $CONFIG ]] || refuse "$CONFIG cannot be read"
CONFIG=${CONFIG:-/etc/atlas-backup.conf}
# shellcheck disable=SC1090 # the operator's own file
[[ ! -e $CONFIG ]] || source "$CONFIG"
SERVICE='^[A-Za-z0-9-]+ [^ /]+( (snapshot|tarball|encrypted|tsdb)=(live|stop)(/[1-9][0-9]*)?)+( unit=[^ ]+)?$'
for line in "${SERVICES[@]}"; do # what is not understood must not silently be no backup
  [[ $line =~ $SERVICE ]] || refuse "SERVICES: not understood: $line"
done

NOTES=$STATE_DIR/$PROJECT UNFINISHED=$BACKUP_DIR/.unfinished-$PROJECT
RUN=$BACKUP_DIR/$(date +%Y%m%dT%H%M%SZ) SNAPSHOT=backup-$(date +%Y%m%d-%H%M%S)
MADE=0 FAILED=0 CLOCK='' PRUNE=()
INCUS=(incus --quiet --project "$PROJECT")

# --- stop and start
state() { "${INCUS[@]}" list "^$1\$" --format csv --columns st || :; } # RUNNING,CONTAINER

stop() { # INSTANCE
  echo stopping >"$NOTES/$1" && sync "$NOTES/$1" "$NOTES" &&
    run "${INCUS[@]}" stop "$1" --timeout -1 && echo stopped >"$NOTES/$1"
}

start() { # INSTANCE, if we have stopped it
  local note=$NOTES/$1 tries=20
  [[ -e $note ]] || return 1
  until
    # While a stop goes on in Incus, a start is "already running"; a second stop waits for the first.
    [[ $(<"$note") == stopped ]] || run "${INCUS[@]}" stop "$1" --timeout -1 || :
    run "${INCUS[@]}" start "$1" || [[ $(<"$note"),$(state "$1") == stopped,RUNNING* ]]
  do
    ((--tries)) || { failed "$1 does not start; every run will try, as long as there is $note"; return 1; }
    sleep 3
  done
  rm -- "$note"
}

start_all() { # whatever a run has left
  local note
  for note in "$NOTES"/*; do
    say "${note##*/}: left $(<"$note"), is started"
    start "${note##*/}" || :
  done
}

ended() { # the run, however that came
  local status=$?
  trap '' TERM HUP INT
  # shellcheck disable=SC2046 # process ids
  kill $(jobs -p) 2>/dev/null || :
  start_all
  rm -rf -- "$UNFINISHED" || :
  rmdir -- "$RUN" 2>/dev/null || :
  exit $((status ? status : FAILED > 0))
}

# --- the kinds
snapshots() { # VOLUME: "YYYYMMDDHHMM NAME" of each of ours, by Incus' clock
  "${INCUS[@]}" storage volume snapshot list "$POOL" "$1" --format csv |
    sed -nE 's|^(backup-[0-9]{8}-[0-9]{6}),(....)/(..)/(..) (..):(..) UTC.*|\2\3\4\5\6 \1|p'
}

snapshot() { # VOLUME; says by the way whether Incus' clock and ours agree
  local before taken
  before=$(date -d '-5 min' +%Y%m%d%H%M)
  run "${INCUS[@]}" storage volume snapshot create "$POOL" "$1" "$SNAPSHOT" || return 1
  MADE=$((MADE + 1))
  say "$1: snapshot $SNAPSHOT"
  taken=$(snapshots "$1" | sed -n "s/ $SNAPSHOT\$//p") || :
  if [[ $taken < $before || $taken > $(date -d '+5 min' +%Y%m%d%H%M) ]]; then
    CLOCK=contradicted
    failed "our clock and that of Incus are more than 5 minutes apart: nothing is pruned"
  fi
  CLOCK=${CLOCK:-confirmed}
}

encrypted() { # VOLUME: its export on stdout; plaintext is on no disk, the passphrase in no argument
  local stdout=-
  [[ $(head -n 1 "$PASSPHRASE_FILE") ]] || { say "there is no passphrase in $PASSPHRASE_FILE" >&2; return 1; }
  # To the client of 6.0 `-` is the name of a file; the one of 7.0 refuses a file that is there.
  [[ $(incus --version) != 6.* ]] || stdout=/proc/self/fd/1
  "${INCUS[@]}" storage volume export "$POOL" "$1" "$stdout" --compression zstd |
    gpg --batch --quiet --no-options --no-autostart --no-keyring --no-random-seed-file --pinentry-mode loopback \
      --passphrase-file "$PASSPHRASE_FILE" --symmetric --cipher-algo AES256 --s2k-count 65011712 --compress-algo none &
  wait $!
}

# shellcheck disable=SC2016 # expanded in the instance
TSDB='set -euo pipefail
exec 3<>/dev/tcp/127.0.0.1/9090
printf "POST /api/v1/admin/tsdb/snapshot HTTP/1.0\r\n\r\n" >&3
name=$(sed -n "s/.*\"name\":\"\([0-9A-Za-z-]*\)\".*/\1/p" <&3)
[[ $name ]] || { echo "Prometheus took no snapshot: is --web.enable-admin-api set?" >&2; exit 1; }
trap "rm -r \"$1/snapshots/$name\"" EXIT
tar -C "$1/snapshots/$name" --numeric-owner -cf - .
sleep 1' # Incus 7.0 loses what a program printed just before its end

make() { # KIND DAYS INSTANCE VOLUME, or bucket DAYS POOL BUCKET. An export is FILE.partial until finished
  local what=files file=$4
  case $1 in
    snapshot) what=snapshots; snapshot "$4" ;;
    tarball) file+=.tar.zst; run "${INCUS[@]}" storage volume export "$POOL" "$4" "$file.partial" --compression zstd ;;
    encrypted) file+=.tar.zst.gpg; encrypted "$4" >"$file.partial" ;;
    bucket) file+=.tar.gz; run "${INCUS[@]}" storage bucket export "$3" "$4" "$file.partial" ;;
    tsdb)
      file=$3-tsdb.tar
      run "${INCUS[@]}" exec "$3" -n -T -- bash -c "$TSDB" tsdb "$PROMETHEUS_DATA" >"$file.partial" &&
        tail -c 1024 "$file.partial" | cmp --silent --bytes=1024 - /dev/zero ;; # tar's end mark: nothing was lost
  esac || { failed "$1 of $4"; rm -f -- "$file.partial"; return 0; }
  [[ ! $2 ]] || PRUNE+=("$what $file $2")
}

finish() { # what was exported gets its name when it is summed and on disk: its sum first
  local file
  for file in *.partial; do
    file=${file%.partial}
    if ! { run sha256sum "$file.partial" >sum && sed 's/\.partial$//' sum >"$file.sha256" &&
      run sync "$file.partial" "$file.sha256" && mkdir -p -- "$RUN" &&
      mv -- "$file.sha256" "$RUN/" && mv -- "$file.partial" "$RUN/$file" && sync "$RUN"; }; then
      failed "$file"
      rm -f -- "$file.partial"
      continue
    fi
    MADE=$((MADE + 1))
    say "$RUN/$file"
  done
}

back_up() { # a line of SERVICES, in words
  local instance=$1 unit=${*: -1} how word now
  now=$(state "$instance")
  [[ $now != *EPHEMERAL* ]] || { failed "$instance is ephemeral: a stop would delete it"; return 0; }
  [[ $now == RUNNING* ]] || failed "$instance does not run: it is backed up as it is, and stays so"
  for how in live stop; do
    if [[ $how == stop && $now == RUNNING* && "$* " =~ =stop[/\ ] ]]; then
      stop "$instance" || { failed "$instance does not stop"; start "$instance" || :; continue; }
    fi
    for word in "${@:3}"; do
      [[ ! $word =~ ^([a-z]+)=$how(/(.+))?$ ]] || make "${BASH_REMATCH[1]}" "${BASH_REMATCH[3]}" "$instance" "$2"
    done
    ! start "$instance" || [[ $unit != unit=* ]] || # an instance that runs is not yet a service that does
      run "${INCUS[@]}" exec "$instance" -n -T -- timeout "$START_SECONDS" \
        sh -c "until systemctl is-active --quiet ${unit#unit=}; do sleep 1; done" ||
      failed "$instance runs again, but its ${unit/=/ } is not active after $START_SECONDS s"
  done
  finish
}

# --- pruning: where this run has made a successor. The newest two stay, however old.
files() { # FILE: "YYYYMMDDHHMM RUN" of each of ours, by the name of its run's directory
  find "$BACKUP_DIR/" -mindepth 2 -maxdepth 2 -type f -name "$1.sha256" |
    sed -nE 's|.*/(([0-9]{8})T([0-9]{4})[0-9]{2}Z)/[^/]*$|\2\3 \1|p'
}

prune() { # snapshots VOLUME DAYS, or files FILE DAYS
  local limit old one
  [[ $1 == snapshots || -e $RUN/$2 ]] || return 0
  limit=$(date -d "-$3 days" +%Y%m%d%H%M)
  old=$("$1" "$2" | sort -r | awk -v limit="$limit" 'NR > 2 && $1 < limit { print $2 }') || failed "pruning of $2"
  for one in $old; do
    if [[ $1 == snapshots ]]; then
      run "${INCUS[@]}" storage volume snapshot delete "$POOL" "$2" "$one"
    else
      rm -f -- "$BACKUP_DIR/$one/$2" "$BACKUP_DIR/$one/$2.sha256" &&
        rmdir --ignore-fail-on-non-empty -- "$BACKUP_DIR/$one"
    fi || { failed "pruning of $2 of $one"; continue; }
    say "$2: pruned $one"
  done
}

# --- the run. Who holds the lock may stop services, and start what is noted; our programs hold it as well.
mkdir -p -- "$NOTES" || refuse "STATE_DIR $STATE_DIR cannot be made"
exec 9>>"/run/lock/atlas-backup.$PROJECT.lock"
if [[ $MODE == start ]]; then flock 9; else flock -n 9 || refuse "another run is at work on project $PROJECT"; fi
trap '' PIPE
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'failed "line $LINENO: $BASH_COMMAND"' ERR
trap ended EXIT
[[ $MODE == backup ]] || exit 0 # `ended` starts what is noted
start_all
rm -rf -- "$UNFINISHED"
mkdir -p -- "$UNFINISHED" || refuse "BACKUP_DIR $BACKUP_DIR cannot be written"
cd "$UNFINISHED"
# shellcheck disable=SC2086 # a line is words
for line in "${SERVICES[@]}"; do back_up $line; done
for line in "${BUCKETS[@]}"; do
  read -r pool bucket days <<<"$line"
  make bucket "$days" "$pool" "$bucket"
done
finish
# shellcheck disable=SC2086 # a line is words
[[ $CLOCK != confirmed ]] || for line in "${PRUNE[@]}"; do prune $line; done
((MADE)) || failed "nothing was made"
say "atlas-backup: $MADE made, $FAILED FAILED"
