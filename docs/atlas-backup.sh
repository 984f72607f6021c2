#!/bin/bash
# atlas-backup.sh [--config FILE] [--start-stopped]: makes the backups of services that run on Incus.
#
# Each run makes BACKUP_DIR/YYYYMMDDTHHMMSSZ/ (UTC), with one file and its FILE.sha256 for each export.
# A file gets its name when it is whole, read back and on disk. What was stopped is started again
# whatever happens; after a kill -9 `--start-stopped` does it, or the next run.
# Exit status: 0 all was made; 1 something FAILED, a line for each; 2 nothing was done; 128+n by signal n.
# Needs bash, coreutils, util-linux, gpg, gzip, zstd and the incus client on the machine of the server.
# shellcheck disable=SC2015,SC2317 # `A && B || C` is meant so; traps call functions
set -Eeuo pipefail
umask 077
export LC_ALL=C TZ=UTC HOME="${HOME:-/root}"

# What is backed up. /etc/atlas-backup.conf, $ATLAS_BACKUP_CONF or --config FILE may set any of these.
PROJECT=default
POOL=local
BACKUP_DIR=/backup/atlas
PASSPHRASE_FILE=/etc/atlas-backup.passphrase # mode 0600; keep a copy where the backups are not
STATE_DIR=/var/lib/atlas-backup              # notes of what is stopped: must survive a reboot
PROMETHEUS_DATA=/prometheus
CLOCK_SECONDS=300 # nothing is pruned where our clock and that of Incus are further apart
START_SECONDS=120 # a unit that is not active so long after the start of its instance has FAILED
# "INSTANCE VOLUME[,VOLUME] KIND=HOW[/DAYS]... [unit=UNIT]". HOW: `live`, or `stop`: all that need it share
# one stop. Older than DAYS is pruned, without DAYS never. Kinds: snapshot; tarball (VOLUME.tar.zst);
# encrypted (VOLUME.tar.zst.gpg); tsdb (INSTANCE-tsdb.tar, a snapshot that Prometheus itself takes).
SERVICES=(
  "grafana01 grafana01-data snapshot=live/7 tarball=stop/7 unit=grafana"
  "prometheus01 prometheus01-data snapshot=live/14 tarball=stop/14 tsdb=live/14 unit=prometheus"
  "loki01 loki01-data snapshot=stop/14 tarball=stop/14 unit=loki"
  "step-ca01 step-ca01-data snapshot=live/28 encrypted=stop/28 unit=step-ca"
  "alertmanager01 alertmanager01-data snapshot=stop/7 tarball=stop/7 unit=alertmanager"
  "mosquitto01 mosquitto01-data snapshot=stop/7 tarball=stop/7 unit=mosquitto"
  "atlantis01 atlantis01-data snapshot=live/14 tarball=stop/14 unit=atlantis"
)
BUCKETS=("terraform-state atlas-terraform-state 30") # "POOL BUCKET [DAYS]": BUCKET.tar.gz, live

say() { printf '%s\n' "$*" 2>/dev/null || :; } # whoever read along may be gone: no reason to end
refuse() { say "atlas-backup: $*; nothing was done" >&2; exit 2; }
failed() { FAILED=$((FAILED + 1)); say "FAILED: $1: $2"; }

# --- arguments and configuration: what is not understood must not silently be no backup
CONFIG=${ATLAS_BACKUP_CONF:-} MODE=backup
while (($#)); do
  case $1 in
    --config) [[ ${2:-} ]] || refuse "--config needs a file"; CONFIG=$2; shift 2 ;;
    --start-stopped) MODE=start; shift ;;
    *) refuse "unknown argument $1" ;;
  esac
done
[[ $CONFIG || ! -e /etc/atlas-backup.conf ]] || CONFIG=/etc/atlas-backup.conf
[[ ! $CONFIG || -r $CONFIG ]] || refuse "$CONFIG cannot be read"
# shellcheck disable=SC1090 # the operator's own file
[[ ! $CONFIG ]] || source "$CONFIG" || refuse "$CONFIG ended with an error"
SERVICE='^[A-Za-z0-9-]+ [^ /,]+(,[^ /,]+)*( ((snapshot|tarball|encrypted)=(live|stop)|tsdb=live)(/[1-9][0-9]*)?| unit=[^ ]+)+$'
for line in "${SERVICES[@]}"; do
  [[ $line =~ $SERVICE ]] || refuse "SERVICES: not understood: $line"
  [[ $line != *' tarball='* || $line != *' encrypted='* ]] || refuse "in plaintext beside encrypted: $line"
done
for line in "${BUCKETS[@]}"; do
  [[ $line =~ ^[^\ ]+\ [^\ /]+(\ [1-9][0-9]*)?$ ]] || refuse "BUCKETS: not understood: $line"
done
[[ $BACKUP_DIR == /* && $STATE_DIR == /* && $PROJECT =~ ^[^/.][^/]*$ ]] ||
  refuse "BACKUP_DIR and STATE_DIR must be absolute, and PROJECT a name"
NOTES=$STATE_DIR/$PROJECT ERRORS=$STATE_DIR/$PROJECT.errors
RUN='' EXPORTING='' CLOCK=unknown MADE=0 FAILED=0 SNAPSHOT='' FINISH=() PRUNE=()
OWN='\.tar(\.zst|\.zst\.gpg|\.gz)?$'
GPG=(gpg --batch --quiet --no-options --no-keyring --no-autostart --no-random-seed-file
  --pinentry-mode loopback --passphrase-file "$PASSPHRASE_FILE")
INCUS=(incus --project "$PROJECT")

# --- programs: no signal to us or our terminal reaches them, they end if we are killed, and `wait`
# lets our traps run at once however long they take
APART=(setsid setpriv --pdeathsig KILL --)
run() { # what it prints goes to $OUTPUT, or nowhere
  "${APART[@]}" "$@" >"${OUTPUT:-/dev/null}" 2>"$ERRORS" </dev/null 8>&- 9>&- &
  wait $!
}
reason() { # the last line that it said
  local said=()
  mapfile -t said <"$ERRORS"
  printf '%s' "${said[-1]:-it ended without a word}"
}
state() { "${INCUS[@]}" list "^$1\$" --format csv --columns st 2>"$ERRORS" </dev/null 8>&- 9>&- || :; }

# --- stop and start
stop_instance() {
  printf 'stopping since %(%F %T)T UTC\n' -1 >"$NOTES/$1" && sync "$NOTES/$1" "$NOTES" || return 1
  run "${INCUS[@]}" stop "$1" --timeout -1 || return 1
  printf 'stopped since %(%F %T)T UTC\n' -1 >"$NOTES/$1"
}

bring_back() { # INSTANCE: starts it, if it has a note, and then removes the note
  local note=$NOTES/$1 try
  [[ -f $note ]] || return 0
  # While a stop goes on in Incus, a start is answered with "already running": the stop must end first.
  # A second stop waits for the first.
  for try in {1..20}; do
    [[ $(<"$note") == stopping* ]] || break
    case $(state "$1") in
      RUNNING,*) ! run "${INCUS[@]}" stop "$1" --timeout -1 || break ;;
      ?*) break ;;
    esac
    ((try < 20)) || { failed "$1" "its stop does not end: $(reason); see what it does, then remove $note"; return 1; }
    sleep 3
  done
  for try in {1..20}; do
    [[ $(state "$1") != RUNNING,* ]] || { rm -f -- "$note"; return 0; }
    run "${INCUS[@]}" start "$1" || sleep 3
  done
  failed "$1" "was stopped for its backup and does not start: $(reason); $note is kept for the next try"
  return 1
}

bring_back_all() { # whatever a run that was killed has left
  local note
  for note in "$NOTES"/*; do
    [[ -f $note ]] || continue
    say "${note##*/}: a run that was killed left it $(<"$note")"
    ! bring_back "${note##*/}" || say "${note##*/}: runs"
  done
}

await_unit() { # INSTANCE UNIT
  local try
  for ((try = 0; try < START_SECONDS; try++)); do
    ! run "${INCUS[@]}" exec "$1" -n -T -- systemctl is-active --quiet "$2" || return 0
    sleep 1
  done
  failed "$1" "runs again, but its unit $2 is not active $START_SECONDS s after the start"
}

# --- files
is_run() { [[ ${1##*/} =~ ^[0-9]{8}T[0-9]{6}Z$ && -d $1 && ! -L $1 && -O $1 ]]; }
is_file() { [[ -f $1 && ! -L $1 ]]; }
is_ours() { # DIRECTORY: it holds files of ours, each with its sum, and nothing else
  local entry
  for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    [[ -e $entry || -L $entry ]] || continue
    is_file "$entry" && is_file "${entry%.sha256}.sha256" && [[ ${entry%.sha256} =~ $OWN ]] || return 1
  done
}
fits() { # FILE: is what its sum says
  local sum
  read -r sum _ <"$1.sha256" && OUTPUT=$ERRORS.sum run sha256sum -- "$1" && [[ $(<"$ERRORS.sum") == "$sum "* ]]
}

clear_unfinished() { # what is left of dead runs, or of this one
  local file whole
  for file in "$BACKUP_DIR"/*Z/.*.partial "$BACKUP_DIR"/*Z/*.sha256; do
    whole=${file%.sha256} whole=${whole%.partial}
    is_run "${file%/*}" && is_file "$file" && [[ $whole =~ $OWN && ! -e $whole ]] || continue
    rm -f -- "$file"
    rmdir -- "${file%/*}" 2>/dev/null || :
  done
}

ended() { # by whatever
  local status=$? note
  trap '' TERM HUP INT QUIT
  trap - EXIT ERR
  set +e
  # An export is given up. A stop is not: it goes on in Incus, and must end before the start.
  # shellcheck disable=SC2046 # process ids
  [[ ! $EXPORTING ]] || kill $(jobs -p) 2>/dev/null
  for note in "$NOTES"/*; do bring_back "${note##*/}"; done
  wait
  [[ ! $RUN ]] || { clear_unfinished; rmdir -- "$RUN" 2>/dev/null; }
  ((status < 128)) || say "atlas-backup: ended by signal $((status - 128)): $MADE made, $FAILED FAILED"
  exit "$status"
}

# --- the kinds
snapshot() { # VOLUME; compares our clock with that of Incus by the way
  local found taken
  SNAPSHOT=backup-$(date +%Y%m%d-%H%M%S)
  run "${INCUS[@]}" storage volume snapshot create "$POOL" "$1" "$SNAPSHOT" || return 1
  OUTPUT=$ERRORS.list run "${INCUS[@]}" storage volume snapshot list "$POOL" "$1" --format csv || return 1
  while IFS=, read -r found taken _; do
    [[ $found == "$SNAPSHOT" ]] || continue
    [[ $CLOCK != unknown ]] || CLOCK=good
    taken=$(date -d "$taken" +%s) && taken=$(($(date +%s) - taken)) && # Incus' client tells whole minutes
      ((taken >= -CLOCK_SECONDS && taken < CLOCK_SECONDS + 60)) || CLOCK=bad
  done <"$ERRORS.list"
}

encrypted() { # VOLUME PARTIAL: plaintext is on no disk, the passphrase in no argument
  local mode word='' stdout=-
  mode=$(stat -L -c %a -- "$PASSPHRASE_FILE" 2>"$ERRORS") || return 1
  read -r word <"$PASSPHRASE_FILE" || :
  [[ $word && $mode == *00 ]] || { say "$PASSPHRASE_FILE is empty, or others may read it" >"$ERRORS"; return 1; }
  # The client of 6.0 takes `-` for the name of a file, and the one of 7.0 refuses a file that is there.
  [[ $(incus --version) != 6.* ]] || stdout=/proc/self/fd/1
  "${APART[@]}" "${INCUS[@]}" -q storage volume export "$POOL" "$1" "$stdout" --compression zstd 2>"$ERRORS" </dev/null 8>&- 9>&- |
    "${APART[@]}" "${GPG[@]}" --symmetric --cipher-algo AES256 --compress-algo none --s2k-count 65011712 \
      2>>"$ERRORS" >"$2" 8>&- 9>&- &
  wait $!
}

# shellcheck disable=SC2016 # expanded in the instance, by whatever client of HTTP it has
TSDB='set -eu; url=http://127.0.0.1:9090/api/v1/admin/tsdb/snapshot
post() { curl -sfX POST "$url" || wget -qO- --post-data= "$url" || bash -c "exec 3<>/dev/tcp/127.0.0.1/9090
  printf \"POST ${url#*9090} HTTP/1.0\r\n\r\n\" >&3; cat <&3"; }
name=$(post 2>/dev/null | sed -n "s/.*\"name\":\"\([0-9A-Za-z-]*\)\".*/\1/p")
[ -n "$name" ] || { echo "Prometheus took no snapshot: is --web.enable-admin-api set?" >&2; exit 1; }
trap "rm -rf \"$1/snapshots/$name\"" EXIT
tar -C "$1/snapshots/$name" --numeric-owner -cf - .
sleep 1 # Incus 7.0 loses what a program printed just before its end'

take() { # KIND OF DAYS [POOL]: a snapshot is made at once; a file is finished when the service runs again
  local file part
  case $1 in
    snapshot)
      snapshot "$2" || { failed "$2 snapshot" "$(reason)"; return 0; }
      MADE=$((MADE + 1)) && say "$2: snapshot $SNAPSHOT"
      PRUNE+=("snapshots $2 ${3:-0} $SNAPSHOT")
      return 0 ;;
    tarball) file=$2.tar.zst ;;
    encrypted) file=$2.tar.zst.gpg ;;
    tsdb) file=$2-tsdb.tar ;;
    bucket) file=$2.tar.gz ;;
  esac
  part=$RUN/.$file.partial EXPORTING=1
  case $1 in
    tarball) run "${INCUS[@]}" -q storage volume export "$POOL" "$2" "$part" --compression zstd ;;
    encrypted) encrypted "$2" "$part" ;;
    tsdb) OUTPUT=$part run "${INCUS[@]}" exec "$2" -n -T -- sh -c "$TSDB" tsdb "$PROMETHEUS_DATA" ;;
    bucket) run "${INCUS[@]}" -q storage bucket export "$4" "$2" "$part" ;;
  esac && FINISH+=("$file ${3:-0}") || { failed "$file" "$(reason)"; rm -f -- "$part"; }
  EXPORTING=''
}

finish() { # FILE DAYS: read to its end, on disk, summed, and only then under its name
  local part=$RUN/.$1.partial sum
  EXPORTING=1
  case $1 in
    *.gpg) "${APART[@]}" "${GPG[@]}" --decrypt <"$part" 2>"$ERRORS" 8>&- 9>&- | "${APART[@]}" zstd -tq 2>>"$ERRORS" 8>&- 9>&- & wait $! ;;
    *.zst) run zstd -tq -- "$part" ;;
    *.gz) run gzip -tq -- "$part" ;;
    *) run tar -tf "$part" && [[ -s $part && ! $(tail -c 1024 -- "$part" | tr -d '\0') ]] ;; # its end mark
  esac && run sync "$part" && OUTPUT=$ERRORS.sum run sha256sum -- "$part" && read -r sum _ <"$ERRORS.sum" &&
    echo "$sum  $1" >"$RUN/$1.sha256" && run sync "$RUN/$1.sha256" && mv -- "$part" "$RUN/$1" && run sync "$RUN" ||
    { failed "$1" "is not whole: $(reason)"; rm -f -- "$part" "$RUN/$1.sha256"; EXPORTING=''; return 0; }
  EXPORTING='' MADE=$((MADE + 1))
  say "$RUN/$1"
  PRUNE+=("files $1 $2")
}

finish_all() {
  local file days
  while ((${#FINISH[@]})); do
    read -r file days <<<"${FINISH[0]}"
    FINISH=("${FINISH[@]:1}")
    finish "$file" "$days"
  done
}

backup_service() { # a line of SERVICES
  local instance volumes kinds how kind volume word unit='' now
  read -r instance volumes kinds <<<"$1"
  [[ " $kinds" =~ \ unit=([^\ ]+) ]] && unit=${BASH_REMATCH[1]}
  now=$(state "$instance")
  [[ $now == RUNNING,* ]] || failed "$instance" "is not running though it is to be backed up (${now:-$(reason)}): what it has is backed up, and it stays as it is"
  for how in live stop; do
    [[ " $kinds" == *"=$how"* ]] || continue
    if [[ $how == stop && $now == RUNNING,* ]]; then
      [[ $now != *EPHEMERAL* ]] || { failed "$instance" "is ephemeral: a stop would delete it"; continue; }
      stop_instance "$instance" || { failed "$instance" "does not stop: $(reason)"; bring_back "$instance" || :; continue; }
    fi
    for kind in snapshot tsdb encrypted tarball; do
      [[ " $kinds " =~ \ $kind=$how(/([0-9]+))?\  ]] || continue
      word=${BASH_REMATCH[2]:-0}
      [[ $kind != tsdb ]] || { take tsdb "$instance" "$word"; continue; }
      for volume in ${volumes//,/ }; do take "$kind" "$volume" "$word"; done
    done
    [[ ! -f $NOTES/$instance ]] || { bring_back "$instance" && { [[ ! $unit ]] || await_unit "$instance" "$unit"; }; } || :
  done
  finish_all
}

# --- pruning: only what is ours, by the time that Incus or the run's name tells, and never the last good
# one but one. Is that older than twice the days, then a clock jumped or backups were missing: nothing goes.
prune() { # snapshots VOLUME DAYS NAME-OF-THIS-RUN, or files FILE DAYS
  local now name taken dir last='' old=() all=()
  now=$(date +%s)
  if [[ $1 == snapshots ]]; then
    OUTPUT=$ERRORS.list run "${INCUS[@]}" storage volume snapshot list "$POOL" "$2" --format csv || { failed "$2 pruning" "$(reason)"; return 0; }
    while IFS=, read -r name taken _; do
      [[ $name =~ ^backup-[0-9]{8}-[0-9]{6}$ && $name != "$4" ]] && taken=$(date -d "$taken" +%s) || continue
      all+=("$taken $name")
    done <"$ERRORS.list"
  else
    for dir in "$BACKUP_DIR"/*Z; do
      name=${dir##*/}
      [[ $dir != "$RUN" ]] && is_run "$dir" && is_file "$dir/$2" && is_ours "$dir" &&
        taken=$(date -d "${name:0:8} ${name:9:2}:${name:11:2}:${name:13:2}" +%s) || continue
      all+=("$taken $dir/$2")
    done
  fi
  while read -r taken name; do
    [[ $taken ]] || continue
    if [[ ! $last ]]; then
      ((taken <= now)) && { [[ $1 == snapshots ]] || fits "$name"; } && last=$taken && continue
    fi
    ((taken >= now - $3 * 86400)) || old+=("$name")
  done < <(printf '%s\n' "${all[@]}" | sort -rn)
  ((${#old[@]})) || return 0
  [[ $last ]] && ((last >= now - 2 * $3 * 86400)) || { say "$2: nothing pruned: no other good one is younger than $((2 * $3)) days"; return 0; }
  for name in "${old[@]}"; do
    if [[ $1 == snapshots ]]; then run "${INCUS[@]}" storage volume snapshot delete "$POOL" "$2" "$name"
    else rm -f -- "$name" "$name.sha256" 2>"$ERRORS" && { rmdir -- "${name%/*}" 2>/dev/null || :; }; fi &&
      say "$2: pruned $name" || failed "$2 pruning" "$name: $(reason)"
  done
}

# --- the run
shopt -s nullglob
mkdir -p -- "$NOTES" || refuse "STATE_DIR $STATE_DIR cannot be made"
exec 9>>"/run/lock/atlas-backup.$PROJECT.lock"
PATIENCE=(-n)
[[ $MODE == backup ]] || PATIENCE=(-w 10) # for what a run that was just killed leaves behind
flock "${PATIENCE[@]}" 9 || refuse "another run is at work on project $PROJECT"
: >"$ERRORS" || refuse "STATE_DIR $STATE_DIR cannot be written"
trap '' PIPE
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 131' QUIT
trap 'exit 143' TERM
trap 'failed "line $LINENO" "$BASH_COMMAND"' ERR
trap ended EXIT
bring_back_all
[[ $MODE == backup ]] || exit $((FAILED > 0))

mkdir -p -- "$BACKUP_DIR" && [[ ! -L $BACKUP_DIR && -O $BACKUP_DIR && $(stat -c %A -- "$BACKUP_DIR") == d????-??-? ]] ||
  refuse "BACKUP_DIR $BACKUP_DIR must be a directory of ours, no link, that nobody else may write to"
exec 8<"$BACKUP_DIR"
flock -n 8 || refuse "another run writes to $BACKUP_DIR"
clear_unfinished
RUN=$BACKUP_DIR/$(date +%Y%m%dT%H%M%SZ)
mkdir -- "$RUN" || { RUN=''; refuse "the directory of this run cannot be made"; }
for line in "${SERVICES[@]}"; do backup_service "$line"; done
for line in "${BUCKETS[@]}"; do
  read -r pool bucket days <<<"$line"
  take bucket "$bucket" "${days:-0}" "$pool"
done
finish_all
if [[ $CLOCK == good ]]; then
  for line in "${PRUNE[@]}"; do
    read -r what of days name <<<"$line"
    ((days == 0)) || prune "$what" "$of" "$days" "$name"
  done
elif [[ $CLOCK == bad ]]; then failed pruning "our clock and that of Incus are more than $CLOCK_SECONDS s apart; nothing was pruned"
else say "nothing pruned: without a snapshot in this run Incus' clock is not known"; fi
((MADE + FAILED)) || failed "$PROJECT" "nothing is configured to be backed up"
say "atlas-backup: $MADE made, $FAILED FAILED"
exit $((FAILED > 0))
