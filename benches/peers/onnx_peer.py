"""ONNX Runtime: inference only, of the files that onnx_export.py has written."""

import os
from pathlib import Path

import numpy as np
import onnxruntime

import measure

args = measure.arguments(["inference"])
measure.say("loaded")
folder = Path(os.environ["PEERS_CACHE"])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = args.threads
images = np.random.default_rng(0).random((args.batch, 3, 32, 32), dtype=np.float32)


def session(size):
    return onnxruntime.InferenceSession(folder / f"network_{size}.onnx", options, providers=["CPUExecutionProvider"])


sessions = {size: session(size) for size in {args.batch, 1}}
names = {size: s.get_inputs()[0].name for size, s in sessions.items()}
result = measure.inference(args, lambda size: sessions[size].run(None, {names[size]: images[:size]}))
measure.report(onnxruntime.__version__, **result)
