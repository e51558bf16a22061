"""Runs the files that tests/onnx/files.rs wrote with ONNX Runtime and compares.

    run.py DIR          DIR/{ops,networks}/NAME/{model.onnx, in.X.npy, out.Y.npy, check.json}

A case of an operation must be within the suite's own limit, which follows from the roundings of f32: `limits` of
check.json, an absolute difference for each output. A network must be within `relative` times its largest logit and
find the same classes, also when it is run on the first half of the batch only.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

def channels_first(array):
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def arrays(directory, prefix, about):
    found = {}
    for path in sorted(directory.glob(f"{prefix}.*.npy")):
        array = np.load(path)
        found[path.name[len(prefix) + 1 : -4]] = channels_first(array) if about["channels_first"] else array
    return found


def difference(got, want):
    """The largest; places where both are the same infinity or not-a-number count as equal."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(over="ignore"):
        want = np.where(np.isinf(want.astype(np.float32)), want.astype(np.float32), want)
    equal = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        apart = np.where(equal, 0, np.abs(got - want))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0))


def check(directory):
    """What is wrong with one file, and the largest difference relative to what is allowed."""
    about = json.loads((directory / "check.json").read_text())
    inputs, wanted = arrays(directory, "in", about), arrays(directory, "out", about)
    run = session(directory / "model.onnx")
    names = [output.name for output in run.get_outputs()]
    feeds = {input.name: inputs[input.name] for input in run.get_inputs()}
    found = dict(zip(names, run.run(names, feeds)))
    problems, worst = [], 0.0
    if sorted(found) != sorted(wanted):
        problems.append(f"outputs {sorted(found)} instead of {sorted(wanted)}")
    for name, want in wanted.items():
        got = found[name]
        if got.shape != want.shape:
            problems.append(f"{name} has shape {got.shape}, not {want.shape}")
            continue
        limit = about["limits"][name] if "limits" in about else about["relative"] * float(np.abs(want).max())
        apart = difference(got, want)
        worst = max(worst, apart / limit if limit else float(apart > 0))
        if apart > limit:
            problems.append(f"{name} is off by {apart:.3g}, allowed are {limit:.3g}")
        if "batch" in about:
            if not np.isfinite(want).all() or (want.std(axis=0) == 0).any():
                problems.append(f"{name} says nothing: {want}")
            if (got.argmax(axis=-1) != want.argmax(axis=-1)).any():
                problems.append(f"{name} finds other classes")
            half = {key: array[: len(array) // 2] for key, array in feeds.items()}
            part = run.run([name], half)[0]
            if difference(part, want[: len(want) // 2]) > limit:
                problems.append(f"{name} of half the batch differs")
    return problems, worst


def main():
    failures = 0
    for part in ("ops", "networks"):
        start, worst, count = time.time(), (0.0, ""), 0
        for directory in sorted((Path(sys.argv[1]) / part).iterdir()):
            try:
                problems, apart = check(directory)
            except Exception as error:  # of the checker, or of the runtime: the text says which
                problems, apart = [f"{type(error).__name__}: {error}"], 0.0
            count += 1
            worst = max(worst, (apart, directory.name))
            failures += bool(problems)
            for problem in problems:
                print(f"{part}/{directory.name}: {problem}")
            if part == "networks":
                print(f"{directory.name}: {apart:.2g} of what is allowed")
        if count == 0:
            sys.exit(f"{part}: no files")
        seconds = time.time() - start
        print(f"{part}: {count} files, at most {worst[0]:.2g} of what is allowed ({worst[1]}), {seconds:.0f} s")
    if failures:
        sys.exit(f"{failures} files are wrong")


if __name__ == "__main__":
    main()
