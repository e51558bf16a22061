"""Keras on the backend that KERAS_BACKEND names. The network has PyTorch's parameters: convolutions without bias."""

import os
import statistics
import time

import numpy as np

import measure

args = measure.arguments(["tensorflow", "jax"])
os.environ["KERAS_BACKEND"] = args.mode
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402  (the backend is chosen before)
from keras import layers  # noqa: E402

if args.mode == "tensorflow":
    import tensorflow as backend

    backend.config.threading.set_intra_op_parallelism_threads(args.threads)
    # one operation at a time, each on all threads
    backend.config.threading.set_inter_op_parallelism_threads(1)
else:
    import jax as backend
measure.say("loaded")


def conv_norm(x, channels, stride=1):
    x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def block(x, channels, stride):
    y = layers.ReLU()(conv_norm(x, channels, stride))
    y = conv_norm(y, channels)
    shortcut = x if stride == 1 else conv_norm(x, channels, stride)
    return layers.ReLU()(layers.Add()([y, shortcut]))


def network():
    images = layers.Input((32, 32, 3))
    x = layers.ReLU()(conv_norm(images, 16))
    for stage, channels in enumerate((16, 32, 64)):
        for number in range(2):
            x = block(x, channels, 2 if stage > 0 and number == 0 else 1)
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(images, layers.Dense(measure.CLASSES)(x))


class Clock(keras.callbacks.Callback):
    """When each step of `fit` ended. Reading the loss waits for the step."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])
        self.ends.append(time.perf_counter())


keras.utils.set_random_seed(0)
model = network()
measure.check_parameters(sum(int(np.prod(w.shape)) for w in model.trainable_weights))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer=keras.optimizers.Adam(0.001), loss=loss)

steps = args.steps + 3
images = np.random.default_rng(0).random((args.batch * steps, 32, 32, 3), dtype=np.float32)
labels = (np.arange(args.batch * steps) % measure.CLASSES).astype("int32")

model.fit(images[: args.batch], labels[: args.batch], batch_size=args.batch, verbose=0)
measure.say("stepped")
clock = Clock()
model.fit(images, labels, batch_size=args.batch, verbose=0, callbacks=[clock])
times = [end - start for start, end in zip(clock.ends[2:], clock.ends[3:])]
train_step_ms = 1e3 * statistics.median(times)
rss_mb = measure.peak_mb()

batch, one = images[: args.batch], images[:1]
infer = measure.inference(args, lambda size: np.asarray(model.predict_on_batch(one if size == 1 else batch)))
version = f"{keras.__version__} on {args.mode} {backend.__version__}"
measure.report(version, train_step_ms=train_step_ms, rss_mb=rss_mb, **infer)
