"""Loads an exported adapter with peft and transformers, and writes a reference case of it.

reference_case.py EXPORTED CASE: EXPORTED is what `spry export --with-base-model` wrote, CASE a new
folder that `spry verify` reads.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.func import functional_call, jvp
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

TEXTS = [
    "ministers condemned the treaty in the capital",
    "the striker",
    "traders sold shares after the merger, and the market closed lower than expected",
]
QUESTION = "who scored the goal in the stadium"

if len(sys.argv) != 3:
    sys.exit(__doc__)
exported, case = Path(sys.argv[1]), Path(sys.argv[2])
saved = load_file(exported / "adapter_model.safetensors")
adapter = json.loads((exported / "adapter_config.json").read_text())
has_spans = "qa_outputs" in adapter["modules_to_save"]
classes = AutoModelForQuestionAnswering if has_spans else AutoModelForSequenceClassification
# PyTorch has no forward mode for its fused attention.
model = classes.from_pretrained(exported / "base", attn_implementation="eager")
model = PeftModel.from_pretrained(model, exported, is_trainable=True)

# Every exported value must be where peft computes with it.
loaded = {
    name.replace(".modules_to_save.default", "").replace(".default", ""): value
    for name, value in model.state_dict().items()
    if ".original_module." not in name
}
for name, value in saved.items():
    assert torch.equal(loaded[name], value), f"{name} was not loaded"
trained = [name for name in saved if "lora_B" in name or "ia3" in name]
assert trained, "there is no adapter"
assert any((saved[name] != saved[name].flatten()[0]).any() for name in trained), "nothing was trained"

case.mkdir()
model.save_pretrained(case)
model.base_model.model.config.save_pretrained(case)
shutil.copy(exported / "base/model.safetensors", case)

model = model.double().eval()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_file=str(exported / "base/tokenizer.json"), pad_token="[PAD]"
)
# Only some families have segments, and peft's model for spans does not hand them on.
has_segments = getattr(model.config, "type_vocab_size", 0) > 1
assert not (has_segments and adapter["task_type"] == "QUESTION_ANS")
texts = ([QUESTION] * len(TEXTS), TEXTS) if has_spans else (TEXTS,)
batch = dict(
    tokenizer(*texts, padding=True, return_tensors="pt", return_token_type_ids=has_segments)
)
if has_spans:
    batch["start_positions"] = torch.tensor([9, 0, 10])
    batch["end_positions"] = torch.tensor([10, 0, 12])
else:
    batch["labels"] = torch.arange(len(TEXTS)) % model.config.num_labels

torch.manual_seed(0)
values = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
tangents = {name: torch.randn_like(value) for name, value in values.items()}


def forward(values):
    output = functional_call(model, values, kwargs=batch)
    if has_spans:
        return output.loss, torch.stack([output.start_logits, output.end_logits])
    return output.loss, output.logits


(loss, logits), (loss_tangent, logits_tangent) = jvp(forward, (values,), (tangents,))
model.zero_grad()
model(**batch).loss.backward()
gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}

tensors = {f"input.{name}": value for name, value in batch.items()}
for prefix, group in [("param", values), ("tangent", tangents), ("grad", gradients)]:
    tensors |= {f"{prefix}.{name}": value for name, value in group.items()}
tensors |= {"expected.logits": logits, "expected.logits_tangent": logits_tangent}
tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
save_file(tensors, case / "case.safetensors")
(case / "case.json").write_text(
    json.dumps(
        {
            "peft": adapter["peft_type"].lower(),
            "task": "qa" if has_spans else "seqcls",
            "uses_segments": has_segments,
            "loss": loss.item(),
            "jvp": loss_tangent.item(),
            "trainable": list(values),
        }
    )
)
