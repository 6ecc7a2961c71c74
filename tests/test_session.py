"""A cluster of a study's own, and its end."""

import subprocess
import sys

import psutil

WORKER_THAT_CANNOT_LEAVE = """
import os, signal
import psutil, ray
from components.cluster.session import connect
from components.config.settings import ClusterSettings

@ray.remote
class Worker:
    def pid(self):
        return os.getpid()

with connect(ClusterSettings()):
    pid = ray.get(Worker.remote().pid.remote())
    print(pid)
    os.kill(pid, signal.SIGSTOP)
    for child in psutil.Process().children():
        if child.name() == "raylet":
            child.kill()
"""


def test_a_worker_that_its_raylet_could_not_end_is_ended_with_the_cluster():
    """The raylet is killed, and the worker stopped, so that it cannot notice."""
    ended = subprocess.run(
        [sys.executable, "-c", WORKER_THAT_CANNOT_LEAVE], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert not psutil.pid_exists(int(ended.stdout.split()[0])), ended.stdout
