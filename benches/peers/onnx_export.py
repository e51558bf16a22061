"""Writes the network as two ONNX files, for a batch and for one image: `onnx_export.py BATCH FOLDER`."""

import sys
from pathlib import Path

import torch

import measure
from torch_network import ResNet, parameters

batch, folder = int(sys.argv[1]), Path(sys.argv[2])
torch.manual_seed(0)
model = ResNet().eval()
measure.check_parameters(parameters(model))
for size in {batch, 1}:
    images = (torch.rand(size, 3, 32, 32),)
    torch.onnx.export(model, images, folder / f"network_{size}.onnx", dynamo=True, external_data=False, verbose=False)
