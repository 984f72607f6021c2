"""Loaded by `-p tests.faults.patient`: a drill's last checks come late, after something else."""

import fixtures.recovery.after as after

after.SOAK_SECONDS = 25.0
