#!/usr/bin/env python3
"""Makes grad_scaler.json: what torch.amp.GradScaler and AdamW make of gradients
some of which overflow, with a learning rate that falls at each step taken.

usage: grad_scaler.py > grad_scaler.json   (torch 2.3 or newer)
"""

import json

import torch

torch.manual_seed(1)
steps, n, rate = 40, 5, 0.1
start = torch.randn(n)
parameter = torch.nn.Parameter(start.clone())
optimizer = torch.optim.AdamW([parameter], lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000)
out = {"start": start.tolist(), "learning_rate": rate, "decay": 0.97, "steps": []}
taken = 0
for i in range(steps):
    gradient = torch.randn(n)
    overflows = i in (0, 1, 7, 23, 24, 25)
    optimizer.param_groups[0]["lr"] = rate * 0.97**taken
    optimizer.zero_grad()
    scaler.scale(torch.zeros(())) if i == 0 else None  # the scaler begins with its first loss
    parameter.grad = gradient * scaler.get_scale()
    if overflows:
        parameter.grad[2] = float("inf")
    before = parameter.detach().clone()
    scaler.step(optimizer)
    scaler.update()
    taken += not overflows
    assert overflows == bool(torch.equal(before, parameter.detach()))
    out["steps"].append({
        "gradient": gradient.tolist(), "overflows": overflows,
        "scale": scaler.get_scale(), "parameters": parameter.detach().tolist(),
    })
# The growth of the scale, with all numbers as they are by default.
scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
scaler.scale(torch.zeros(()))
out["growth"], last = [], 64.0
for i in range(9000):
    parameter.grad = torch.full((n,), float("inf") if i in (3, 2100, 6104) else 0.0)
    scaler.step(optimizer)
    scaler.update()
    if scaler.get_scale() != last:
        last = scaler.get_scale()
        out["growth"].append([i, last])
print(json.dumps(out))
