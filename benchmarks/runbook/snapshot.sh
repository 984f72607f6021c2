#!/usr/bin/env bash
# docs/runbook.md, "From a snapshot", with the loss before it: all that is on the volume is gone.
# Everything that it is about comes in the environment; `incus` is the client's program.
set -eu
incus exec "$INSTANCE" -- sh -c "systemctl kill --signal=KILL $UNIT; systemctl stop $UNIT; find $MOUNT -mindepth 1 -delete"
incus stop --force "$INSTANCE"

incus storage volume snapshot restore "$POOL" "$VOLUME" "$SNAPSHOT"
incus start "$INSTANCE"
