"""A pytest plugin of a child run: by a defect of ours, the loss is aimed at the source."""

import os

import fixtures.recovery.service as verbs
from fixtures.errors import GuardRefused
from fixtures.incus.instance import Instance

SWALLOWED = os.environ.get("ATLAS_DRILLS_TEST_SWALLOWED") == "yes"


def destroy_data(self):
    source = self.incus.source("atlas")
    try:
        Instance(source, self.spec.instance).set_state("stop", force=True)
    except GuardRefused as refused:
        if not SWALLOWED:
            raise
        print(f"swallowed: {refused.message}")


verbs.ServiceUnderDrill.destroy_data = destroy_data
