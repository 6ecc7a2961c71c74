"""The end of a cluster of a study's own."""

import os
import subprocess
import sys

from components.cluster import session


def test_what_a_raylet_left_behind_is_ended_and_nothing_else(monkeypatch):
    monkeypatch.setattr(session, "SECONDS_TO_LEAVE", 0.2)
    wait = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    started = [
        subprocess.Popen(wait, env=os.environ | {"RAY_RAYLET_PID": raylet}, stdout=subprocess.PIPE)
        for raylet in ("a raylet that is no more", "another study's")
    ]
    try:
        for process in started:
            process.stdout.readline()
        session._end_workers({"a raylet that is no more"})
        assert started[0].wait(10) != 0
        assert started[1].poll() is None
    finally:
        for process in started:
            process.kill()
            process.communicate()
