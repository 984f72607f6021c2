"""Loaded by `-p tests.faults.brief`: a drill's last checks come after one second, not after ten."""

import fixtures.recovery.after as after

after.SOAK_SECONDS = 1.0
