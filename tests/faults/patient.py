"""Loaded by `-p tests.faults.patient`: a drill's last looks come late enough to be before them."""

import fixtures.recovery.after as after

after.SOAK_SECONDS = 25.0
