"""Writes cases.json: small folders of tokenizers, and what transformers makes of a text in each.

Run it with transformers 5 installed (5.24 wrote what is here): python generate.py. Each case has the folder's files, one or two
texts, a length, and the token ids with their segments, or the error that Python ends with.
"""

import json
import os
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, logging

logging.set_verbosity(logging.CRITICAL)

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] good bad film the a is was not Good un ##real ##ly . ! [ ] hl HL "
    "cafe café é caf ##e ##é 中 国 中国 x ##x <s> </s>"
).split()
TEXT = "The GOOD café is un-really 中国 x [HL] ! good film"


def wordpiece(lowercase=True, words=WORDS, processor=True, added=()):
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if processor:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.add_tokens(list(added))
    return json.loads(tokenizer.to_str())


ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = [("Ġ", "g"), ("o", "o"), ("oo", "d"), ("g", "ood"), ("Ġg", "ood"), ("f", "i"), ("fi", "l"),
          ("fil", "m"), ("Ġ", "film"), ("Ã", "©"), ("t", "h"), ("th", "e"), ("Ġ", "the")]
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def bpe_vocabulary(specials=SPECIALS):
    tokens = specials + ALPHABET
    for left, right in MERGES:
        if left + right not in tokens:
            tokens.append(left + right)
    return {token: i for i, token in enumerate(tokens)}


def byte_level(processor="roberta", prefix=False, specials=SPECIALS, added=()):
    tokenizer = Tokenizer(models.BPE(bpe_vocabulary(specials), MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    if processor == "roberta":
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=prefix)
    elif processor == "opt":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="</s>:0 $A:0", pair="</s>:0 $A:0 </s>:1 $B:1", special_tokens=[("</s>", 2)])
    tokenizer.add_special_tokens(specials)
    tokenizer.add_tokens(list(added))
    return json.loads(tokenizer.to_str())


def llama(prepend="first", processor=True):
    letters = sorted(set("thegodfilmisnAB.!"))
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["▁"] + letters
    merges = [("▁", "g"), ("o", "o"), ("oo", "d"), ("▁g", "ood"), ("g", "ood"), ("f", "i"), ("fi", "l"), ("fil", "m"),
              ("▁", "film"), ("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "▁")]
    for left, right in merges:
        if left + right not in tokens:
            tokens.append(left + right)
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, fuse_unk=True, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if processor:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s>:0 $A:0", pair="<s>:0 $A:0 <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return json.loads(tokenizer.to_str())


def unigram(first, processor=None, lower=True):
    pieces = first + ["▁good", "▁film", "▁the", "▁", "good", "film", "the", "e", "g", "o", "d", "é", "f", "i", "l", "m", "t", "h",
                      "▁GOOD", "G", "O", "D", ".", "!", "\"", "`", "'", "c", "a", "caf"]
    scores = [(p, 0.0 if i < len(first) else -1.0 - i / 10) for i, p in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=first.index("<unk>"), byte_fallback=False))
    steps = [normalizers.Lowercase()] if lower else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("``", '"'), *steps])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if processor is not None:
        tokenizer.post_processor = processor
    tokenizer.add_special_tokens(first)
    return json.loads(tokenizer.to_str())


ALBERT = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
XLMR = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
ALBERT_PROCESSOR = processors.TemplateProcessing(
    single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])

CASES = []


def case(name, files, text=TEXT, pair=None, max_length=32):
    folder = tempfile.mkdtemp()
    try:
        for file, content in files.items():
            with open(os.path.join(folder, file), "w", encoding="utf-8") as f:
                f.write(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
        entry = {"name": name, "files": files, "text": text, "pair": pair, "max_length": max_length}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            encoded = tokenizer(text, pair, truncation=True, max_length=max_length)
            ids = encoded["input_ids"]
            entry["ids"] = ids
            entry["segments"] = list(encoded.get("token_type_ids", [0] * len(ids)))
            entry["pad"] = tokenizer.pad_token_id
        except Exception as error:
            entry["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
        CASES.append(entry)
    finally:
        shutil.rmtree(folder)


def of(model_type, tokenizer=None, config=None, **files):
    found = {"config.json": {"model_type": model_type}}
    if tokenizer is not None:
        found["tokenizer.json"] = tokenizer
    if config is not None:
        found["tokenizer_config.json"] = config
    found.update({name.replace("__", "."): content for name, content in files.items()})
    return found


B = {"tokenizer_class": "BertTokenizer"}
HL = {"content": "[HL]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
VOCAB = "\n".join(WORDS) + "\n"

# BERT: tokenizer.json beside tokenizer_config.json.
case("bert without options", of("bert", wordpiece()))
case("bert without options, a cased tokenizer.json", of("bert", wordpiece(lowercase=False)))
case("bert, a pair", of("bert", wordpiece()), pair="the film is bad")
for lower in (True, False):
    case(f"bert, do_lower_case {lower}", of("bert", wordpiece(lowercase=not lower), {**B, "do_lower_case": lower}))
for strip in (True, False, None):
    case(f"bert, strip_accents {strip}, uncased", of("bert", wordpiece(), {**B, "strip_accents": strip}))
case("bert, strip_accents, cased", of("bert", wordpiece(), {**B, "strip_accents": True, "do_lower_case": False}))
case("bert, tokenize_chinese_chars false", of("bert", wordpiece(), {**B, "tokenize_chinese_chars": False}))
case("bert, other cls and sep", of("bert", wordpiece(), {**B, "cls_token": "<s>", "sep_token": "</s>"}), pair="bad")
case("bert, another unk", of("bert", wordpiece(), {**B, "unk_token": "bad"}))
case("bert, a pad_token that is not there", of("bert", wordpiece(), {**B, "pad_token": "<none>"}))
case("bert, added_tokens_decoder", of("bert", wordpiece(), {**B, "added_tokens_decoder": {"35": HL}}))
case("bert, added_tokens_decoder with another number", of("bert", wordpiece(), {**B, "added_tokens_decoder": {"99": HL}}))
case("bert, added_tokens_decoder over those of tokenizer.json",
     of("bert", wordpiece(added=["[HL]"]), {**B, "added_tokens_decoder": {"0": {**HL, "content": "[PAD]"}}}))
case("bert, added tokens of tokenizer.json", of("bert", wordpiece(added=[AddedToken("[HL]", normalized=False)])))
case("bert, a normalized added token", of("bert", wordpiece(added=[AddedToken("GOOD Caf", normalized=True)])))
case("bert, a token that takes spaces", of("bert", wordpiece(added=[AddedToken("[HL]", lstrip=True, rstrip=True, normalized=False)])))
case("bert, added_tokens.json beside tokenizer.json", of("bert", wordpiece(), B, added_tokens__json={"[HL]": 35}))
case("bert, additional_special_tokens", of("bert", wordpiece(), {**B, "additional_special_tokens": ["[HL]"]}))
case("bert, extra_special_tokens", of("bert", wordpiece(), {**B, "extra_special_tokens": ["[HL]", "x"]}))
case("bert, extra_special_tokens by name", of("bert", wordpiece(), {**B, "extra_special_tokens": {"mark": "[HL]"}}))
case("bert, a token of its own", of("bert", wordpiece(), {**B, "mark_token": "[HL]"}))
case("bert, special_tokens_map.json", of("bert", wordpiece(), B, special_tokens_map__json={"cls_token": "<s>", "additional_special_tokens": ["[HL]"]}))
case("bert, special_tokens_map.json with properties",
     of("bert", wordpiece(), B, special_tokens_map__json={"sep_token": {"content": "</s>", "lstrip": True, "rstrip": False, "single_word": False, "normalized": False}}))
case("bert, special_tokens_map.json beside added_tokens_decoder",
     of("bert", wordpiece(), {**B, "added_tokens_decoder": {}}, special_tokens_map__json={"cls_token": "<s>"}))
case("bert, split_special_tokens", of("bert", wordpiece(added=[AddedToken("[HL]", special=True)]), {**B, "split_special_tokens": True}), text="[MASK] [HL] good")
case("bert, truncation_side left", of("bert", wordpiece(), {**B, "truncation_side": "left"}), max_length=8)
case("bert, truncation_side left of tokenizer.json",
     of("bert", {**wordpiece(), "truncation": {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0}}, B), max_length=8)
case("bert, padding of tokenizer.json",
     of("bert", {**wordpiece(), "padding": {"strategy": {"Fixed": 40}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 4, "pad_type_id": 1, "pad_token": "[MASK]"}}, B))
case("bert, model_max_length", of("bert", wordpiece(), {**B, "model_max_length": 5}))
case("bert, model_input_names without segments", of("bert", wordpiece(), {**B, "model_input_names": ["input_ids", "attention_mask"]}), pair="bad")
case("bert, do_basic_tokenize false and never_split", of("bert", wordpiece(), {**B, "do_basic_tokenize": False, "never_split": ["GOOD"]}))
case("bert, other options", of("bert", wordpiece(), {**B, "clean_up_tokenization_spaces": True, "padding_side": "left", "name_or_path": "x", "add_prefix_space": True,
     "add_bos_token": True, "errors": "strict", "max_len": 3, "stride": 2, "tokenizer_file": "/none", "keep_accents": True, "legacy": True}))
case("bert without a post-processor", of("bert", wordpiece(processor=False), B))
case("bert, another prefix of pieces", of("bert", (lambda t: (t["model"].update(continuing_subword_prefix="@@", max_input_chars_per_word=3), t)[1])(wordpiece()), B))
case("bert as PreTrainedTokenizerFast", of("bert", wordpiece(lowercase=False), {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}), pair="bad")
case("bert as PreTrainedTokenizerFast without a post-processor", of("bert", wordpiece(processor=False), {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}), pair="bad")
case("bert as PreTrainedTokenizerFast with segments", of("bert", wordpiece(), {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "token_type_ids"]}), pair="bad")
case("bert as PreTrainedTokenizerFast with added tokens",
     of("bert", wordpiece(), {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "<s>", "bos_token": "[HL]", "add_bos_token": True, "additional_special_tokens": ["caf"]}))
case("bert as PreTrainedTokenizerFast, added_tokens_decoder changes a token",
     of("bert", wordpiece(added=[AddedToken("[HL]", normalized=False)]), {"tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {"35": {**HL, "lstrip": True}, "36": {**HL, "content": "café"}}}))
case("distilbert", of("distilbert", wordpiece(), {"tokenizer_class": "DistilBertTokenizerFast"}), pair="bad")
case("class of config.json", {**of("bert", wordpiece(lowercase=False)), "config.json": {"model_type": "bert", "tokenizer_class": "PreTrainedTokenizerFast"}})
case("words without a type", of("bert", (lambda t: (t["model"].pop("type"), t)[1])(wordpiece()), B))

# BERT: vocab.txt.
case("vocab.txt", of("bert", vocab__txt=VOCAB))
case("vocab.txt, cased", of("bert", None, {**B, "do_lower_case": False}, vocab__txt=VOCAB))
case("vocab.txt, accents and ideographs", of("bert", None, {**B, "strip_accents": False, "tokenize_chinese_chars": False}, vocab__txt=VOCAB))
case("vocab.txt with added_tokens.json", of("bert", None, B, vocab__txt=VOCAB, added_tokens__json={"[HL]": 35}))
case("vocab.txt with added_tokens.json in another order", of("bert", None, B, vocab__txt=VOCAB, added_tokens__json={"[HL]": 90, "un-re": 77}))
case("vocab.txt with added_tokens.json that are special", of("bert", None, {**B, "additional_special_tokens": ["[HL]"]}, vocab__txt=VOCAB, added_tokens__json={"[HL]": 35}))
case("vocab.txt with special_tokens_map.json", of("bert", None, B, vocab__txt=VOCAB, special_tokens_map__json={"cls_token": "<s>"}))
case("vocab.txt with added_tokens_decoder", of("bert", None, {**B, "added_tokens_decoder": {"35": HL}}, vocab__txt=VOCAB, added_tokens__json={"un-re": 36}))
case("vocab.txt, lines that are there twice", of("bert", vocab__txt=VOCAB + "good\n"))
case("vocab.txt with carriage returns", of("bert", vocab__txt=VOCAB.replace("\n", "\r\n")))
case("vocab.txt without [MASK]", of("bert", vocab__txt=VOCAB.replace("[MASK]\n", "")), text="good [MASK]")
case("vocab.txt as PreTrainedTokenizerFast", of("bert", None, {"tokenizer_class": "PreTrainedTokenizerFast"}, vocab__txt=VOCAB))
case("bert with the files of a BPE", of("bert", vocab__json={"a": 0}, merges__txt="#version: 0.2\n"))

# RoBERTa.
R = {"tokenizer_class": "RobertaTokenizer"}
RT = "the good café <mask> film<s> good"
MERGES_TXT = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES)
case("roberta", of("roberta", byte_level()), RT)
case("roberta, a pair", of("roberta", byte_level(), R), RT, pair="good film")
case("roberta, add_prefix_space", of("roberta", byte_level(), {**R, "add_prefix_space": True}), "good film")
case("roberta, prefix of tokenizer.json alone", of("roberta", byte_level(prefix=True), R), "good film")
case("roberta, a pair's processor of BERT", of("roberta", {**byte_level(), "post_processor": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}}, R), RT, pair="good film")
case("roberta, mask takes the space", of("roberta", byte_level(), {**R, "added_tokens_decoder": {"4": {"content": "<mask>", "lstrip": True, "normalized": False, "special": True}}}), RT)
case("roberta, mask as an added token", of("roberta", byte_level(), {**R, "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True, "rstrip": False, "single_word": False}}), RT)
case("roberta as PreTrainedTokenizerFast", of("roberta", byte_level(prefix=True), {"tokenizer_class": "PreTrainedTokenizerFast"}), RT, pair="good")
case("roberta, vocab.json and merges.txt", of("roberta", None, R, vocab__json=bpe_vocabulary(), merges__txt=MERGES_TXT), RT)
case("roberta, vocab.json and merges.txt, a pair and a prefix",
     of("roberta", None, {**R, "add_prefix_space": True}, vocab__json=bpe_vocabulary(), merges__txt=MERGES_TXT), "good film", pair="good <mask>")
case("roberta, vocab.json and merges.txt, other tokens",
     of("roberta", None, {**R, "cls_token": "<unk>", "additional_special_tokens": ["café"]}, vocab__json=bpe_vocabulary(), merges__txt=MERGES_TXT), RT)
case("roberta, vocab.json and merges.txt with special_tokens_map.json",
     of("roberta", None, R, vocab__json=bpe_vocabulary(), merges__txt=MERGES_TXT,
        special_tokens_map__json={"mask_token": {"content": "<mask>", "lstrip": True, "normalized": True, "rstrip": False, "single_word": False}}), RT)
case("roberta, merges.txt missing", of("roberta", None, R, vocab__json=bpe_vocabulary()), RT)
case("roberta, truncated", of("roberta", byte_level(), R), RT, pair="good film good film", max_length=11)

# OPT.
O = {"tokenizer_class": "GPT2Tokenizer", "unk_token": "</s>", "bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>"}
case("opt", of("opt", byte_level("opt"), O), RT)
case("opt, a pair", of("opt", byte_level("opt"), O), RT, pair="good")
case("opt without options", of("opt", byte_level("opt")), RT)
case("opt without a post-processor", of("opt", byte_level(None), {**O, "add_bos_token": True}), RT)
case("opt, vocab.json and merges.txt, with a first token", of("opt", None, {**O, "add_bos_token": True}, vocab__json=bpe_vocabulary(), merges__txt=MERGES_TXT), RT)
case("opt, vocab.json and merges.txt, both ends, a pair", of("opt", None, {**O, "add_bos_token": True, "add_eos_token": True}, vocab__json=bpe_vocabulary(), merges__txt=MERGES_TXT), RT, pair="good")
case("opt, vocab.json and merges.txt, without", of("opt", None, O, vocab__json=bpe_vocabulary(), merges__txt=MERGES_TXT), RT, pair="good")
case("opt, as published",
     of("opt", None, {"errors": "replace", "unk_token": {"content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "__type": "AddedToken"},
        "bos_token": {"content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "__type": "AddedToken"},
        "eos_token": {"content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "__type": "AddedToken"},
        "pad_token": {"content": "<pad>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "__type": "AddedToken"},
        "add_prefix_space": False, "add_bos_token": True, "special_tokens_map_file": None, "name_or_path": "patrickvonplaten/opt-30b", "tokenizer_class": "GPT2Tokenizer"},
        vocab__json=bpe_vocabulary(), merges__txt=MERGES_TXT,
        special_tokens_map__json={"bos_token": {"content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True},
                                  "pad_token": {"content": "<pad>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}}), RT)

# Llama.
L = {"tokenizer_class": "LlamaTokenizer"}
LT = "the good  film</s> good é"
case("llama", of("llama", llama(), L), LT)
case("llama, a pair", of("llama", llama(), L), LT, pair="good")
for legacy in (True, False, None):
    case(f"llama, legacy {legacy}", of("llama", llama(), {**L, "legacy": legacy}), LT)
case("llama, add_prefix_space false", of("llama", llama(), {**L, "add_prefix_space": False}), LT)
case("llama, add_prefix_space null", of("llama", llama(), {**L, "add_prefix_space": None}), LT)
case("llama, add_bos_token false beside tokenizer.json", of("llama", llama(), {**L, "add_bos_token": False, "add_eos_token": True}), LT)
case("llama without a post-processor", of("llama", llama(processor=False), L), LT)
case("llama without a class", of("llama", llama()), LT)
case("llama of bytes under the class of Llama 2", of("llama", byte_level("opt"), L), RT)
case("llama as PreTrainedTokenizerFast", of("llama", llama(), {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "</s>"}), LT)

# ALBERT and XLM-RoBERTa.
A = {"tokenizer_class": "AlbertTokenizer"}
AT = "The GOOD café ``film'' good [MASK]"
case("albert", of("albert", unigram(ALBERT, ALBERT_PROCESSOR), A), AT, pair="good")
case("albert without options", of("albert", unigram(ALBERT, ALBERT_PROCESSOR)), AT)
case("albert, cased with accents", of("albert", unigram(ALBERT, ALBERT_PROCESSOR), {**A, "do_lower_case": False, "keep_accents": True}), AT)
case("albert, no prefix", of("albert", unigram(ALBERT, ALBERT_PROCESSOR), {**A, "add_prefix_space": False}), AT)
case("albert without a post-processor", of("albert", unigram(ALBERT), A), AT, pair="good")
X = {"tokenizer_class": "XLMRobertaTokenizer"}
case("bert with the vocabulary of xlm-roberta", of("bert", unigram(XLMR, lower=False), X), "good GOOD film <mask>", pair="the")
case("bert with the vocabulary of xlm-roberta, without a class", of("bert", unigram(XLMR, lower=False)), "good GOOD film <mask>", pair="the")

# Long files stand once; a case names them by their place.
SHARED = []
for entry in CASES:
    for file, content in entry["files"].items():
        if len(json.dumps(content)) > 500:
            if content not in SHARED:
                SHARED.append(content)
            entry["files"][file] = SHARED.index(content)

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.json"), "w", encoding="utf-8") as f:
    lines = [",\n".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in part) for part in (SHARED, CASES)]
    f.write(f'{{"shared":[\n{lines[0]}\n],"cases":[\n{lines[1]}\n]}}\n')
