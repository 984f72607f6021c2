#!/usr/bin/env bash
# Every recovery of the runbook, one after the other, as a person would put them into one script.
#
# What `pytest drills` drills, without what makes it a drill: no data is written and looked for, no
# tarball is read before it is trusted, nothing is proven gone. What it leaves out makes it faster.
# PLAN has one line a drill; SERVICES one line a service; both are made by benchmarks/fleet.py.
set -eu
# Of the standard input `incus create` would take its configuration.
exec 3<"$PLAN" </dev/null

say() { echo "$(date +%s.%N) $*"; }

# Sets instance, volume, image, mount, device, unit, port and consistency of a service.
know() {
  read -r _ instance volume image mount device port snapshot_by tarball_by <<<"$(grep "^$1 " "$SERVICES")"
}

healthy() {
  incus exec "$instance" -- bash -c \
    "until exec 3<>/dev/tcp/127.0.0.1/$port; do sleep 0.05; done" 2>/dev/null
}

# On a copy of the source's data: nothing is written anew, as the drills do.
deploy() {
  know "$1"
  incus storage volume copy "$POOL/$volume" "$POOL/$volume" --volume-only \
    --project "$SOURCE" --target-project "$INCUS_PROJECT" --quiet
  create
}

create() {
  incus create "$image" "$instance" --quiet
  incus storage volume attach "$POOL" "$volume" "$instance" "$device" "$mount"
  incus start "$instance"
  healthy
}

stop_for() { if [ "$1" = stop ]; then incus stop "$instance"; fi; }
start_after() { if [ "$1" = stop ]; then incus start "$instance" && healthy; fi; }

export_volume() { # compression [--optimized-storage]
  stop_for "$tarball_by"
  incus storage volume export "$POOL" "$volume" "$SCRATCH/$volume.tar" --quiet --compression "$@"
  start_after "$tarball_by"
  sha256sum "$SCRATCH/$volume.tar" >"$SCRATCH/$volume.sha256"
}

import_volume() { # name
  sha256sum --check --quiet "$SCRATCH/$volume.sha256"
  incus storage volume import "$POOL" "$SCRATCH/$volume.tar" "$1" --quiet
}

lose() {
  incus delete --force "$instance"
  incus storage volume delete "$POOL" "$volume" --quiet
}

away() {
  incus delete --force "$instance"
  incus storage volume delete "$POOL" "$volume" --quiet
  rm -rf "${SCRATCH:?}"/*
}

snapshot() {
  deploy "$1"
  stop_for "$snapshot_by"
  incus storage volume snapshot create "$POOL" "$volume" before --quiet
  start_after "$snapshot_by"
  incus exec "$instance" -- sh -c "find $mount -mindepth 1 -delete"
  incus stop --force "$instance"
  incus storage volume snapshot restore "$POOL" "$volume" before
  incus start "$instance"
  healthy
  away
}

tarball() { # service [compression [--optimized-storage]]
  deploy "$1"
  shift
  export_volume "${@:-gzip}"
  lose
  import_volume "$volume"
  create
  away
}

new_volume() {
  deploy "$1"
  export_volume gzip
  incus stop --force "$instance"
  import_volume "$volume-restored"
  incus storage volume detach "$POOL" "$volume" "$instance"
  incus storage volume attach "$POOL" "$volume-restored" "$instance" "$device" "$mount"
  incus start "$instance"
  healthy
  away
  incus storage volume delete "$POOL" "$volume-restored" --quiet
}

encrypted_tarball() {
  deploy "$1"
  export_volume gzip
  gpg --batch --homedir "$GNUPGHOME" --pinentry-mode loopback --passphrase-file "$PASSPHRASE" \
    --symmetric --cipher-algo AES256 --output "$SCRATCH/$volume.gpg" "$SCRATCH/$volume.tar"
  rm "$SCRATCH/$volume.tar"
  lose
  gpg --batch --homedir "$GNUPGHOME" --pinentry-mode loopback --passphrase-file "$PASSPHRASE" \
    --quiet --decrypt --output "$SCRATCH/$volume.tar" "$SCRATCH/$volume.gpg"
  import_volume "$volume"
  create
  away
}

rebuild() {
  deploy "$1"
  lose
  deploy "$1"
  away
}

# An instance and an empty service again; what its own export takes and gives is left out.
native() { rebuild "$1"; }

existing_snapshot() {
  know "$1"
  newest=$(incus storage volume snapshot list "$POOL" "$volume" --project "$SOURCE" -f csv -c n | tail -n 1)
  incus storage volume copy "$POOL/$volume/$newest" "$POOL/$volume" --quiet \
    --project "$SOURCE" --target-project "$INCUS_PROJECT"
  create
  away
}

existing_file() {
  know "$1"
  cp "$BACKUPS/$volume.tar" "$SCRATCH/$volume.tar"
  sha256sum "$SCRATCH/$volume.tar" >"$SCRATCH/$volume.sha256"
  import_volume "$volume"
  create
  away
}

full_rebuild() { # with or without
  for service in $(cut -d ' ' -f 1 "$SERVICES"); do deploy "$service"; done
  for service in $(cut -d ' ' -f 1 "$SERVICES"); do
    know "$service"
    if [ "$1" = with ]; then export_volume gzip; fi
    lose
  done
  for service in $(cut -d ' ' -f 1 "$SERVICES"); do
    know "$service"
    if [ "$1" = with ]; then import_volume "$volume" && create; else deploy "$service"; fi
  done
  for service in $(cut -d ' ' -f 1 "$SERVICES"); do know "$service" && incus delete --force "$instance" &&
    incus storage volume delete "$POOL" "$volume" --quiet; done
  rm -rf "${SCRATCH:?}"/*
}

bucket() {
  incus storage bucket create "$BUCKET_POOL" script-bucket --quiet >/dev/null
  incus storage bucket export "$BUCKET_POOL" script-bucket "$SCRATCH/bucket.tar.gz" --quiet
  incus storage bucket delete "$BUCKET_POOL" script-bucket --quiet
  incus storage bucket import "$BUCKET_POOL" "$SCRATCH/bucket.tar.gz" script-bucket --quiet
  incus storage bucket delete "$BUCKET_POOL" script-bucket --quiet
  rm -rf "${SCRATCH:?}"/*
}

while read -r what subject more <&3; do
  say "$what $subject $more"
  # shellcheck disable=SC2086
  "$what" "$subject" $more
done
