"""Reads what tests/logs/tensorboard.rs wrote, with TensorBoard's own loader."""

import struct
import sys
import zlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"histograms": 0, "images": 0, "scalars": 0, "tensors": 0})
events.Reload()


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got}, expected {wanted}")
    print(f"{what}: {got}")


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


expect("scalars", [(e.step, e.value) for e in events.Scalars("loss")], [(i, f32(2 / (1 + i))) for i in range(5)])

# TensorFlow's limits: powers of 1.1 from 1e-12, mirrored, with zero between
positive, limit = [], 1e-12
while limit < 1e20:
    positive.append(limit)
    limit *= 1.1
positive.append(sys.float_info.max)
limits = [-v for v in reversed(positive)] + [0.0] + positive
values = [f32(((i * 37 % 101) - 50) / 40) for i in range(1000)]
counts, low = {}, float("-inf")
for high in limits:
    inside = sum(low <= v < high for v in values)
    if inside:
        counts[high] = inside
    low = high
histogram = events.Histograms("weights/conv1")[0].histogram_value
expect("histogram", {e: n for e, n in zip(histogram.bucket_limit, histogram.bucket) if n}, counts)
expect("numbers", (histogram.num, histogram.min, histogram.max), (1000, min(values), max(values)))
expect("sum", round(histogram.sum, 9), round(sum(values), 9))

image = events.Images("sample")[0]
expect("image", (image.step, image.height, image.width), (4, 2, 2))
# the pixels of the PNG: one byte of filter before each row; filter 0 or 1 on RGB
png = image.encoded_image_string
at, data = 8, b""
while at < len(png):
    (length,) = struct.unpack(">I", png[at : at + 4])
    if png[at + 4 : at + 8] == b"IDAT":
        data += png[at + 8 : at + 8 + length]
    at += 12 + length
raw, rows, above = zlib.decompress(data), [], [0] * 6
for row in (raw[:7], raw[7:]):
    line = list(row[1:])
    for i in range(6):
        left = line[i - 3] if i >= 3 else 0
        corner = above[i - 3] if i >= 3 else 0
        p = left + above[i] - corner
        paeth = min((left, above[i], corner), key=lambda v: abs(p - v))
        line[i] = (line[i] + [0, left, above[i], (left + above[i]) // 2, paeth][row[0]]) % 256
    rows += line
    above = line
expect("pixels", rows, [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])

text = events.Tensors("setup")[0]
expect("text", text.tensor_proto.string_val[0], b"Adam, *batches* of 100")

nodes = {node.name: node for node in events.Graph().node}
expect("inputs", list(nodes["layer1/sub"].input), ["layer1/bn/batch_norm", "layer1/bn/batch_norm:1"])
shapes = nodes["layer1/bn/batch_norm"].attr["_output_shapes"].list.shape
expect("shapes", [[d.size for d in shape.dim] for shape in shapes], [[8, 2], [2], [2], [2], [2]])
print("TensorBoard reads all of it")
