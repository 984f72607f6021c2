# An operator's Incus with one service, and backups of it made by hand; needs no network but apt's.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends $1 >/dev/null
incus admin init --preseed <<'YAML'
storage_pools: [{name: default, driver: dir}]
networks: [{name: incusbr0, type: bridge, config: {ipv4.address: 10.123.0.1/24, ipv4.nat: "true", ipv6.address: none}}]
profiles:
  - name: default
    devices:
      root: {type: disk, path: /, pool: default}
      eth0: {type: nic, network: incusbr0}
YAML
incus image import /var/cache/atlas-drills/images/mosquitto-*.tar.zst --alias mosquitto
incus storage volume create default mosquitto01-data
incus create -q mosquitto mosquitto01
incus config device add mosquitto01 data disk pool=default source=mosquitto01-data path=/mosquitto/data
incus start mosquitto01
inside() { incus exec mosquitto01 -- bash -c "$1"; }
inside 'until [ -S /run/systemd/private ]; do sleep 0.2; done; systemctl is-system-running --wait >/dev/null; systemctl stop mosquitto
  chown 100:101 /mosquitto/data && systemctl start mosquitto'
# CONNECT, nine retained messages t/1 to t/9, DISCONNECT, in MQTT's own bytes.
inside 'for try in {1..50}; do exec 3<>/dev/tcp/127.0.0.1/1883 && break; sleep 0.2; done 2>/dev/null
  printf "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00" >&3; head -c 4 <&3 | od -c >/dev/null
  for n in {1..9}; do printf "\x31\x06\x00\x03t/${n}v" >&3; done; printf "\xe0\x00" >&3'
sleep 2
mkdir -p /srv/backups
incus stop mosquitto01
incus storage volume snapshot create default mosquitto01-data by-hand
incus storage volume export -q default mosquitto01-data /srv/backups/mosquitto01-data.tar.gz --volume-only
incus start mosquitto01
