"""Times what a client computes, in eager PyTorch on the CPU, for a process that compares it.

    python torch_worker.py                 reads requests from stdin, answers on stdout
    python torch_worker.py --self-check    compares jvps with gradients in a small model

Requests and answers are JSON, one per line. The first request describes the model, which is
transformers' BertForSequenceClassification with LoRA on query and value of every layer:

    {"config": {BertConfig's fields}, "model_dir": null or a folder, "num_labels": 4, "batch": 8,
     "length": 64, "threads": 2, "lora": {"r": 1, "alpha": 1.0}, "tuned": true}
    -> {"ready": true, "torch": version, "threads": 2}

With a `model_dir`, configuration and weights are those of the folder. `tuned` may be left out; when
it is false, jvps are computed by torch.func.jvp over torch.nn.Linear. The other requests are

    {"run": "inference"}               logits
    {"run": "backprop"}                loss, and its gradient for LoRA and classifier
    {"run": "jvp_all"}                 loss and one jvp, for LoRA and classifier
    {"run": "jvp_group", "group": 3}   the same for one LoRA pair and the classifier; the pairs are
                                       layer 0's query, layer 0's value, layer 1's query, ...
    {"run": "jvp_many", "k": 8}        k jvps, for LoRA and classifier
    {"load_clients": path}             -> {"steps": number of batches of all clients}
    {"run": "clients"}                 every client, from the same weights: for each of its batches
                                       one jvp along a new direction and a step of SGD
    {"run": "exit"}                    ends the process, without an answer

where every run answers {"seconds": time}. The file of clients is

    {"clients": [{"group": 3, "batches": [{"input_ids": [[...], ...], "attention_mask": [[...],
     ...], "labels": [...]}, ...]}, ...], "learning_rate": 0.01}

A request that fails answers {"error": message}.
"""

import contextlib
import json
import os
import sys
import time

import torch
import torch.autograd.forward_ad as fwd
import torch.nn.functional as F
import transformers
from torch import nn
from torch.func import functional_call, jvp, vmap
from transformers import BertConfig, BertForSequenceClassification

FIRST_TOKEN = 1000  # special and unused tokens of BERT's vocabulary come before
SPREAD = 0.02  # of random LoRA weights


class ConstantLinear(torch.autograd.Function):
    """F.linear of a frozen weight, for forward mode.

    PyTorch's own formula multiplies a weight without tangent by a matrix of zeros, and so takes
    three products where two are enough.
    """

    @staticmethod
    def forward(x, weight, bias):
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.weight = inputs[1]

    @staticmethod
    def jvp(ctx, x_tangent, weight_tangent, bias_tangent):
        return F.linear(x_tangent, ctx.weight)

    @staticmethod
    def vmap(info, in_dims, x, weight, bias):
        if in_dims[0] is None:
            return ConstantLinear.apply(x, weight, bias), None
        return ConstantLinear.apply(x.movedim(in_dims[0], 0), weight, bias), 0


class FrozenLinear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.forward_mode = False

    def forward(self, x):
        linear = ConstantLinear.apply if self.forward_mode else F.linear
        return linear(x, self.weight, self.bias)


class LoraLinear(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        outputs, inputs = base.weight.shape
        self.a = nn.Parameter(torch.randn(rank, inputs) * SPREAD)
        self.b = nn.Parameter(torch.randn(outputs, rank) * SPREAD)
        self.scale = alpha / rank

    def forward(self, x):
        update = F.linear(x, self.a)
        if self.scale != 1.0:
            update = update * self.scale
        return self.base(x) + F.linear(update, self.b)


class Worker:
    def __init__(self, request):
        torch.manual_seed(0)
        self.tuned = request.get("tuned", True)
        self.model = build_model(request).eval().requires_grad_(False)
        self.groups = self.add_lora(request["lora"])
        self.head = ["classifier.weight", "classifier.bias"]
        self.names = [name for group in self.groups for name in group] + self.head
        self.weights = {name: self.model.get_parameter(name).detach() for name in self.names}
        self.frozen = [m for m in self.model.modules() if isinstance(m, FrozenLinear)]
        self.owners = {name: owner(self.model, name) for name in self.names}

        shape = (request["batch"], request["length"])
        vocabulary = self.model.config.vocab_size
        input_ids = torch.randint(min(FIRST_TOKEN, vocabulary // 2), vocabulary, shape)
        labels = torch.randint(request["num_labels"], shape[:1])
        self.batch = (input_ids, None, labels)  # nothing is padded, so there is no mask
        self.direction = {name: torch.randn_like(w) for name, w in self.weights.items()}
        self.clients = None

    def add_lora(self, lora):
        """Adds LoRA, and returns the names of each pair's weights."""
        if self.tuned:
            for module in [self.model.bert.encoder, self.model.bert.pooler]:
                replace_linears(module)
        groups = []
        for index, layer in enumerate(self.model.bert.encoder.layer):
            attention = layer.attention.self
            for target in ["query", "value"]:
                linear = LoraLinear(getattr(attention, target), lora["r"], lora["alpha"])
                setattr(attention, target, linear)
                prefix = f"bert.encoder.layer.{index}.attention.self.{target}"
                groups.append([f"{prefix}.a", f"{prefix}.b"])
        return groups
