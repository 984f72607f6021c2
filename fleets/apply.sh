# Makes one service's instance, as an operator's `tofu apply` does; the lab's `apply` command.
#
# The drill says by the environment what to make, and on which volume. This script knows nothing
# else of drills: it stands for a tool that is not ours. It runs inside the lab, next to its Incus.
set -eu
case $ATLAS_DRILLS_INSTANCE in
alertmanager01) image=alertmanager path=/var/lib/alertmanager ;;
atlantis01) image=atlantis path=/atlantis-data ;;
grafana01) image=grafana path=/var/lib/grafana ;;
loki01) image=loki path=/loki ;;
mosquitto01) image=mosquitto path=/mosquitto/data ;;
prometheus01) image=prometheus path=/prometheus ;;
step-ca01) image=step-ca path=/home/step ;;
*) echo "no instance $ATLAS_DRILLS_INSTANCE is known here" >&2 && exit 1 ;;
esac
incus create "$image" "$ATLAS_DRILLS_INSTANCE" --config limits.memory=1GiB --config user.made-by=apply.sh
incus config device add "$ATLAS_DRILLS_INSTANCE" data disk \
    pool="$ATLAS_DRILLS_POOL" source="$ATLAS_DRILLS_VOLUME" path="$path"
echo "made $ATLAS_DRILLS_INSTANCE"
