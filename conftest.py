"""Loads the engine's pytest plugin, which takes its time."""

import signal
import threading

# Until the run listens itself there is nothing to clean up, and a trace of imports says nothing.
if threading.current_thread() is threading.main_thread() and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)

pytest_plugins = ["fixtures.plugin"]
