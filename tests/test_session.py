"""The end of a cluster of a study's own."""

import os
import subprocess
import sys

import pytest

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


STOPPED_WHILE_RAY_STARTS = """
import os, signal
import ray
from components.cluster import session
from components.config.settings import ClusterSettings

signal.signal(signal.SIGTERM, signal.default_int_handler)
start = ray.init

def stopped(**named):
    start(**named)
    os.kill(os.getpid(), signal.SIGTERM)  # Ray's own handler has it now
    signal.pause()

ray.init = stopped
try:
    with session.connect(ClusterSettings()):
        pass
except KeyboardInterrupt:
    print("interrupted", ray.is_initialized(), list(session.SESSIONS.glob(f"{session.SESSION}{os.getpid()}-*")))
"""


@pytest.mark.faults
def test_a_study_that_is_told_to_stop_while_ray_starts_is_interrupted_and_leaves_nothing():
    script = [sys.executable, "-c", STOPPED_WHILE_RAY_STARTS]
    ended = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("interrupted False []\n")
