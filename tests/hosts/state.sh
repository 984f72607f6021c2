# What a run could leave on a host: one line for each thing, after the sort that it is of.
tell() { sed "s/^/$1 /"; }
findmnt -rn -o TARGET,FSTYPE | grep -v -e '^/run/user/' -e '/proc/sys/fs/binfmt_misc' | tell mount
losetup --noheadings --list --output NAME,BACK-FILE | tell loop
# Those of systemd's own units come and go.
find /sys/fs/cgroup -mindepth 1 -type d | grep -v -e '\.slice' -e '/init\.scope$' -e '\.mount$' | tell cgroup
# What runs inside the operator's own instance comes and goes as well.
find /sys/fs/cgroup -mindepth 2 -type d | grep -e lxc -e atlas -e incus | grep -v '/lxc\.payload\.mosquitto01/' | tell cgroup
ps --ppid 2 -p 2 --deselect -o comm= | sort -u |
  grep -v -e '^ps$' -e '^sort$' -e '^grep$' -e '^sed$' -e '^bash$' -e '^sshd' -e '^(sd-pam)$' -e '^systemd' \
    -e '^agetty$' -e '^cron$' -e '^apt' -e '^dnsmasq$' -e '^mosquitto$' | tell process
lsns --noheadings --type net --output NPROCS | wc -l | tell netns
ip -brief link | cut -d' ' -f1 | tell link
systemctl --failed --no-legend --plain | tell failed
sysctl -a 2>/dev/null | grep -v -e '^kernel\.random' -e '^fs\.[a-z-]*-\(nr\|state\) ' -e '^kernel\.ns_last_pid' \
  -e '^kernel\.pty\.nr' -e 'nf_conntrack_count' -e '^fs\.aio-nr' -e '^kernel\.tainted' -e '^fs\.quota\.' -e '^net\.ipv[46]\.\(conf\|neigh\)' | tell sysctl
find /tmp /var/tmp /run -maxdepth 1 -name '*atlas*' ! -path /run/atlas-drills | tell file
# Where locks and runs are noted stays; a note in it would be a run that has not ended.
# Empty lock files on tmpfs stay: who removed one could take it from under a run that waits for it.
find /run/atlas-drills /var/lib/atlas-drills/.lab.runs -type f ! \( -name '*.lock' -empty \) 2>/dev/null |
    tell file
find /var/lib/atlas-drills -mindepth 1 -maxdepth 1 ! -name '.lab.*' 2>/dev/null | tell file
