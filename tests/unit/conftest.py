"""Hypothesis: the same examples each time, however long a busy machine takes for one."""

from hypothesis import settings

settings.load_profile("ci")
