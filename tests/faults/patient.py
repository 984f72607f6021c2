"""Loaded by `-p tests.faults.patient`: a drill's last checks are late: something comes before them."""

import fixtures.recovery.after as after

after.SOAK_SECONDS = 25.0
