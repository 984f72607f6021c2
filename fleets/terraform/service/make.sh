# Makes one instance with its volume, and starts it, if they are not there.
set -eu
if ! incus image list --format=csv --columns=l | grep -qx "$IMAGE"; then
  echo "no image $IMAGE here: $NAME is left out"
  exit 0
fi
if ! incus storage volume show local "$VOLUME" >/dev/null 2>&1; then
  incus storage volume create local "$VOLUME" size="$SIZE" \
    initial.uid="${OWNER%:*}" initial.gid="${OWNER#*:}" initial.mode=0750
fi
if ! incus info "$NAME" >/dev/null 2>&1; then
  incus create "$IMAGE" "$NAME" --config limits.memory=1GiB
  incus storage volume attach local "$VOLUME" "$NAME" data "$MOUNT"
  incus start "$NAME"
fi
