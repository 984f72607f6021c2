#!/usr/bin/env bash
# docs/runbook.md, "From a tarball", with the loss before it: instance and volume are gone.
# Everything that it is about comes in the environment; `incus` is the client's program.
set -eu
incus delete --force "$INSTANCE"
incus storage volume delete "$POOL" "$VOLUME"

sha256sum --check --quiet "$FILE.sha256"
incus storage volume import "$POOL" "$FILE" "$VOLUME"
incus create "$IMAGE" "$INSTANCE"
incus storage volume attach "$POOL" "$VOLUME" "$INSTANCE" "$DEVICE" "$MOUNT"
incus start "$INSTANCE"
