"""Times what a client computes in eager PyTorch, for a process that compares it with something.

    python torch_worker.py                 reads requests from stdin, answers on stdout
    python torch_worker.py --self-check    compares jvps with gradients in a small model

Requests and answers are JSON, one per line. The first request describes the model, which is
transformers' BertForSequenceClassification with LoRA on query and value of every layer:

    {"config": {BertConfig's fields}, "model_dir": null or a folder, "num_labels": 4, "batch": 8,
     "length": 64, "threads": 2, "lora": {"r": 1, "alpha": 1.0}, "tuned": true}
    -> {"ready": true, "torch": version, "threads": 2}

With a `model_dir`, configuration and weights are those of the folder. `tuned` may be left out; if
it is false, jvps are what torch.func.jvp makes of the model as it is. The other requests are

    {"run": "inference"}               logits
    {"run": "backprop"}                loss, and its gradient for LoRA and classifier
    {"run": "jvp_all"}                 loss, and a jvp for LoRA and classifier
    {"run": "jvp_group", "group": 3}   the same for one LoRA pair and the classifier; the pairs are
                                       layer 0's query, layer 0's value, layer 1's query, ...
    {"run": "jvp_many", "k": 8}        k jvps for LoRA and classifier
    {"load_clients": path}             -> {"steps": number of batches of all clients}
    {"run": "clients"}                 every client, from the same weights: for each of its batches
                                       a jvp along a new direction and a step of SGD
    {"run": "exit"}                    ends the process, without an answer

where every run answers {"seconds": time}. The file of clients is

    {"clients": [{"group": 3, "batches": [{"input_ids": [[...], ...], "attention_mask": [[...],
     ...], "labels": [...]}, ...]}, ...], "learning_rate": 0.01}

A request that fails answers {"error": message}.
"""

import json
import math
import os
import sys
import tempfile
import time
import warnings

import torch
import torch.autograd.forward_ad as fwd
import torch.nn.functional as F
import transformers
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

SPREAD = 0.02  # of random LoRA weights


class ConstantLinear(torch.autograd.Function):
    """F.linear with a constant weight, for forward mode.

    PyTorch's own formula also multiplies x by a tangent of zeros: three products instead of two.
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
        self.weight, self.bias = linear.weight, linear.bias
        self.forward_mode = False

    def forward(self, x):
        linear = ConstantLinear.apply if self.forward_mode else F.linear
        return linear(x, self.weight, self.bias)


class LoraLinear(nn.Module):
    """The weights are plain attributes, so that they can be set to any tensor."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        self.a = SPREAD * torch.randn(rank, base.weight.shape[1])
        self.b = SPREAD * torch.randn(base.weight.shape[0], rank)
        self.scale = alpha / rank

    def forward(self, x):
        projected = F.linear(x, self.a)
        if self.scale != 1:
            projected = projected * self.scale
        return self.base(x) + F.linear(projected, self.b)


class Worker:
    def __init__(self, request):
        torch.manual_seed(0)
        torch.set_num_threads(request["threads"])
        self.tuned = request.get("tuned", True)
        self.model = build_model(request)
        self.modules = {}  # by prefix of the names of their trained weights
        self.groups = []  # names of weights
        lora = request["lora"]
        for index, layer in enumerate(self.model.bert.encoder.layer):
            attention = layer.attention.self
            for target in ["query", "value"]:
                module = LoraLinear(getattr(attention, target), lora["r"], lora["alpha"])
                setattr(attention, target, module)
                prefix = f"{index}.{target}"
                self.modules[prefix] = module
                self.groups.append([f"{prefix}.a", f"{prefix}.b"])
        if self.tuned:
            freeze_linears(self.model.bert)
        head = self.model.classifier
        for name, value in list(head.named_parameters()):
            delattr(head, name)
            setattr(head, name, value.detach())  # a plain attribute, as those of LoraLinear
        self.modules["classifier"] = head
        self.head = ["classifier.weight", "classifier.bias"]
        names = [name for group in self.groups for name in group] + self.head
        self.weights = {name: getattr(*self.place_of(name)) for name in names}
        self.leaves = {name: w.clone().requires_grad_() for name, w in self.weights.items()}

        shape = (request["batch"], request["length"])
        input_ids = torch.randint(1, self.model.config.vocab_size, shape)
        labels = torch.randint(request["num_labels"], shape[:1])
        self.batch = (input_ids, None, labels)
        self.direction = random_like(self.weights)
        self.directions = {}  # by their number
        self.clients = None
        self.learning_rate = None

        self.set_forward_mode(True)
        self.jvp_all()  # the first one takes seconds: it loads formulas of forward mode

    def place_of(self, name):
        prefix, attribute = name.rsplit(".", 1)
        return self.modules[prefix], attribute

    def logits(self, weights, batch):
        for name, value in weights.items():
            setattr(*self.place_of(name), value)
        input_ids, attention_mask, _ = batch
        return self.model(input_ids, attention_mask=attention_mask, return_dict=False)[0]

    def loss(self, weights, batch):
        return F.cross_entropy(self.logits(weights, batch), batch[2])

    def set_forward_mode(self, on):
        # The fused attention has no forward mode; PyTorch's unfused one is not faster than this.
        self.model.set_attn_implementation("eager" if on else "sdpa")
        for module in self.model.modules():
            if isinstance(module, FrozenLinear):
                module.forward_mode = on

    @torch.inference_mode()
    def inference(self):
        return self.logits(self.weights, self.batch)

    def backprop(self, batch=None):
        loss = self.loss(self.leaves, batch or self.batch)
        return loss, torch.autograd.grad(loss, list(self.leaves.values()))

    def jvp_by_func(self, weights, direction, batch):
        def loss(perturbed):
            return self.loss(weights | perturbed, batch)

        perturbed = {name: weights[name] for name in direction}
        return torch.func.jvp(loss, (perturbed,), (direction,))

    @torch.no_grad()
    def jvp(self, weights, direction, batch):
        """Loss and jvp; `direction` may be of some of the weights."""
        if not self.tuned:
            return self.jvp_by_func(weights, direction, batch)
        with fwd.dual_level():  # what torch.func.jvp uses, without its wrappers of tensors
            duals = {name: fwd.make_dual(weights[name], v) for name, v in direction.items()}
            return fwd.unpack_dual(self.loss(weights | duals, batch))

    def jvp_all(self):
        return self.jvp(self.weights, self.direction, self.batch)

    def jvp_group(self, group):
        names = self.groups[group] + self.head
        direction = {name: self.direction[name] for name in names}
        return self.jvp(self.weights, direction, self.batch)

    @torch.no_grad()
    def jvp_many(self, directions):
        # vmap is faster than a loop over directions. It has no rule for what `jvp` calls.
        return torch.vmap(lambda v: self.jvp_by_func(self.weights, v, self.batch)[1])(directions)

    def directions_of(self, k):
        if k not in self.directions:
            self.directions[k] = {n: torch.randn(k, *w.shape) for n, w in self.weights.items()}
        return self.directions[k]

    def load_clients(self, path):
        with open(path, encoding="utf-8") as file:
            loaded = json.load(file)
        self.learning_rate = loaded["learning_rate"]
        self.clients = [
            (client["group"], [to_tensors(batch) for batch in client["batches"]])
            for client in loaded["clients"]
        ]
        return sum(len(batches) for _, batches in self.clients)

    def run_client(self, group, batches):
        names = self.groups[group] + self.head
        trained = {name: self.weights[name].clone() for name in names}
        weights = self.weights | trained
        for batch in batches:
            direction = random_like(trained)
            step = self.learning_rate * self.jvp(weights, direction, batch)[1].item()
            for name, value in trained.items():
                value.sub_(direction[name], alpha=step)
        return trained

    def run_clients(self):
        if self.clients is None:
            raise ValueError("no clients are loaded")
        for group, batches in self.clients:
            self.run_client(group, batches)

    def seconds(self, request):
        match request["run"]:
            case "inference":
                work = self.inference
            case "backprop":
                work = self.backprop
            case "jvp_all":
                work = self.jvp_all
            case "jvp_group":
                group = request["group"]
                if not 0 <= group < len(self.groups):
                    raise ValueError(f"there is no group {group}")

                def work():
                    self.jvp_group(group)
            case "jvp_many":
                directions = self.directions_of(request["k"])

                def work():
                    self.jvp_many(directions)
            case "clients":
                work = self.run_clients
            case unknown:
                raise ValueError(f"unknown run: {unknown}")
        self.set_forward_mode(request["run"] not in ["inference", "backprop"])
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


def build_model(request):
    if request.get("model_dir") is None:
        config = BertConfig(**request["config"], num_labels=request["num_labels"])
        model = BertForSequenceClassification(config)
    else:
        model = BertForSequenceClassification.from_pretrained(
            request["model_dir"], num_labels=request["num_labels"], dtype=torch.float32
        )
    return model.eval().requires_grad_(False)


def freeze_linears(module):
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, FrozenLinear(child))
        else:
            freeze_linears(child)


def random_like(weights):
    return {name: torch.randn_like(weight) for name, weight in weights.items()}


def to_tensors(batch):
    mask = torch.tensor(batch["attention_mask"])
    mask = None if mask.all() else mask  # saves adding zeros
    return torch.tensor(batch["input_ids"]), mask, torch.tensor(batch["labels"])


def answer(worker, request):
    if "load_clients" in request:
        return {"steps": worker.load_clients(request["load_clients"])}
    return {"seconds": worker.seconds(request)}


def serve():
    # Whatever libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if request.get("run") == "exit":
                break
            if worker is None:
                worker = Worker(request)
                threads = torch.get_num_threads()
                reply = {"ready": True, "torch": torch.__version__, "threads": threads}
            else:
                reply = answer(worker, request)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


def self_check():
    # In double precision, as LoRA has a small part in a jvp.
    torch.set_default_dtype(torch.float64)
    config = dict(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2)
    config |= dict(intermediate_size=32, max_position_embeddings=12, type_vocab_size=2)
    request = dict(config=config, num_labels=4, batch=3, length=8, threads=1)
    for tuned, rank in [(True, 1), (False, 1), (True, 2)]:
        worker = Worker(request | dict(tuned=tuned, lora=dict(r=rank, alpha=1.0)))
        check_jvps(worker)
        check_clients(worker)
    print("ok")


def check_jvps(worker):
    worker.set_forward_mode(False)
    loss, gradients = worker.backprop()
    gradients = dict(zip(worker.weights, gradients))

    def check(jvp, direction):
        expected = sum((gradients[name] * v).sum() for name, v in direction.items())
        assert math.isclose(jvp, expected, rel_tol=1e-6), f"{jvp} instead of {expected}"

    worker.set_forward_mode(True)
    assert torch.allclose(worker.jvp_all()[0], loss)
    check(worker.jvp_all()[1], worker.direction)
    for group, names in enumerate(worker.groups):
        direction = {name: worker.direction[name] for name in names + worker.head}
        check(worker.jvp_group(group)[1], direction)
    directions = worker.directions_of(5)
    for index, jvp in enumerate(worker.jvp_many(directions)):
        check(jvp, {name: v[index] for name, v in directions.items()})


def check_clients(worker):
    """Trains a client with padded batches, and again with gradients in place of jvps."""
    group = 2
    batches = [
        dict(
            input_ids=[[5, 6, 7, length], [8, 9, 0, 0]],
            attention_mask=[[1, 1, 1, 1], [1, 1, 0, 0]],
            labels=[1, 3],
        )
        for length in [10, 11]
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "clients.json")
        with open(path, "w", encoding="utf-8") as file:
            clients = [dict(group=group, batches=batches)]
            json.dump(dict(clients=clients, learning_rate=0.01), file)
        assert worker.load_clients(path) == len(batches)
    batches = worker.clients[0][1]

    worker.set_forward_mode(True)
    torch.manual_seed(1)
    trained = worker.run_client(group, batches)

    worker.set_forward_mode(False)
    torch.manual_seed(1)
    for batch in batches:
        gradients = dict(zip(worker.leaves, worker.backprop(batch)[1]))
        direction = random_like({name: worker.weights[name] for name in trained})
        jvp = sum((gradients[name] * v).sum() for name, v in direction.items())
        for name, v in direction.items():
            worker.leaves[name].data -= worker.learning_rate * jvp * v
    for name, weight in trained.items():
        assert torch.allclose(weight, worker.leaves[name], rtol=1e-6), name
        assert not torch.equal(weight, worker.weights[name]), name


def main():
    warnings.filterwarnings("ignore", category=FutureWarning)  # of PyTorch about itself
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if sys.argv[1:] == ["--self-check"]:
        self_check()
    elif len(sys.argv) > 1:
        sys.exit(__doc__)
    else:
        serve()


if __name__ == "__main__":
    main()
