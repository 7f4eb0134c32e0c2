"""Run a job and kill this process, coordinator and nodes alike, before an exchange."""

import os
import signal
import sys
from pathlib import Path

from end_to_end.small_world import Trial, members_named, small_job
from end_to_end.test_training_runs import Stopped, StopsAt

from fedmkt.simulation.world import World

world = World(Path(sys.argv[1]), members_named(3))
try:
    Trial(world, wrap=lambda channel: StopsAt(channel, int(sys.argv[2]), after=True)).run(
        small_job(world), "run-1"
    )
except Stopped:
    os.kill(os.getpid(), signal.SIGKILL)
