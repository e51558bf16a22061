"""PyTorch: eager with channels last, `torch.compile`, and bf16 autocast."""

import contextlib

import torch
from torch import nn

import measure
from torch_network import ResNet, parameters

args = measure.arguments(["eager", "compile", "bf16"])
measure.say("loaded")

torch.set_num_threads(args.threads)
torch.manual_seed(0)
model = ResNet().to(memory_format=torch.channels_last)
measure.check_parameters(parameters(model))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
images = torch.rand(args.batch, 3, 32, 32).to(memory_format=torch.channels_last)
one = images[:1].clone(memory_format=torch.channels_last)
labels = torch.arange(args.batch) % measure.CLASSES
call = torch.compile(model, dynamic=False) if args.mode == "compile" else model


def precision():
    return torch.autocast("cpu", dtype=torch.bfloat16) if args.mode == "bf16" else contextlib.nullcontext()


def train_step():
    with precision():
        loss = criterion(call(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def infer(batch):
    with torch.inference_mode(), precision():
        return call(one if batch == 1 else images)


train_step()
measure.say("stepped")
for _ in range(3):
    train_step()
train_step_ms = measure.median_ms(args.steps, train_step)
rss_mb = measure.peak_mb()
model.eval()
measure.report(torch.__version__, train_step_ms=train_step_ms, rss_mb=rss_mb, **measure.inference(args, infer))
