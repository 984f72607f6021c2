"""Loaded by `-p tests.faults.patient`: a drill's last checks come so late that something can come before them."""

import fixtures.recovery.after as after

after.SOAK_SECONDS = 25.0
