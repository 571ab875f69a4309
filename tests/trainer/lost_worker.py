"""A worker in a process of its own, which trains without end: to be killed amid a run.

`python -m tests.trainer.lost_worker ADDRESS KEY FOLDER`
"""

import sys
import threading
from pathlib import Path

from fleet_contract.clock import SystemClock
from trainer.api import Api
from trainer.build import Built
from trainer.data.store import Store
from trainer.training import StoppedError
from trainer.worker import Work, Worker

LEFT = b"after step 7"


def endless(work: Work) -> Built:
    """Leaves a checkpoint, and then does nothing but tell that it trains."""
    partial = work.checkpoint.with_suffix(".partial")
    partial.write_bytes(LEFT)
    partial.rename(work.checkpoint)
    pause = threading.Event()
    while not work.watch(0.5, "training: step 7"):
        pause.wait(0.02)
    raise StoppedError("told to stop")


def main() -> None:
    """Works until killed."""
    address, key, folder = sys.argv[1:]
    Worker(Api(address), Store(Path(folder)), Path(key).read_bytes(), "lost", SystemClock(),
           threading.Event(), poll_s=0.05, checkpoint_s=0.05, build=endless).run()  # fmt: skip


if __name__ == "__main__":
    main()
