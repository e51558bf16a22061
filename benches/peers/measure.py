"""What every Python peer has in common: the command line, the clock, and what is printed.

    loaded                  the framework is imported
    stepped                 the first training step is over; the driver takes the time
    {"train_step_ms": …}    medians, one line of JSON

The driver `run` starts each peer in a process of its own, and reads these lines.
"""

import argparse
import json
import statistics
import sys
import time

# of the seed's network with [2, 2, 2] blocks, in PyTorch's form; running statistics are no parameters
PARAMETERS = 195_738
CLASSES = 10


def arguments(modes):
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


def say(line):
    print(line, flush=True)


def median_ms(runs, body):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def peak_mb():
    """The most memory that this process has held, in MB."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def check_parameters(count):
    if count != PARAMETERS:
        sys.exit(f"{count} parameters, but the network has {PARAMETERS}")


def inference(args, infer):
    """Medians of `infer(batch)`, whose first call may compile."""
    result = {}
    for key, batch, runs in [("infer_batch_ms", args.batch, args.steps), ("infer1_ms", 1, 10 * args.steps)]:
        for _ in range(3):
            infer(batch)
        result[key] = median_ms(runs, lambda: infer(batch))
    return result


def report(version, **result):
    say(json.dumps({"version": version, **result}))
