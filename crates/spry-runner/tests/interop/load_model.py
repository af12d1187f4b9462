"""load_model.py MODEL: loads an exported model with transformers; prints its logits as JSON."""

import json
import sys

import torch
from transformers import AutoModelForSequenceClassification

model, info = AutoModelForSequenceClassification.from_pretrained(
    sys.argv[1], output_loading_info=True
)
assert not info["missing_keys"], info
assert not info["unexpected_keys"], info
assert not info["mismatched_keys"], info
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor([[2, 7, 8, 3]])).logits
assert model.config.id2label[3] == "Sci/Tech", model.config.id2label
print(json.dumps(logits[0].tolist()))
