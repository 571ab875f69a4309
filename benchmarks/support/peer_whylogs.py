"""Run by the Python of an environment that has whylogs: prints milliseconds to log a picture."""

import os
import statistics
import sys
import time
from importlib import import_module

os.environ["WHYLOGS_NO_ANALYTICS"] = "True"


def main() -> None:
    """`HEIGHT WIDTH RUNS`: `VERSION MS` on one line; the median."""
    height, width, runs = (int(word) for word in sys.argv[1:])
    numpy = import_module("numpy")
    noise = numpy.random.default_rng(1).integers(60, 180, (height, width, 3), "uint8")
    picture = import_module("PIL.Image").fromarray(noise)
    log_image = import_module("whylogs.extras.image_metric").log_image
    log_image(picture)
    times = []
    for _ in range(runs):
        start = time.process_time()
        log_image(picture)
        times.append((time.process_time() - start) * 1e3)
    version = import_module("importlib.metadata").version("whylogs")
    sys.stdout.write(f"{version} {statistics.median(times)}\n")


if __name__ == "__main__":
    main()
