//! Data: tokenizers, datasets, questions, kept partitions.

use std::cell::RefCell;
use std::path::Path;

use serde_json::Value;
use spry_data::question_answering::decode::{DecodeConfig, SpanLogits, answer};
use spry_data::{
    Dataset, Layout, PartitionCache, Partitioner, Question, TextExample, TextTokenizer, TokenBatch,
    spec, synthetic,
};

use super::tables::{self, Style};
use super::{Seeds, Shape, Target, in_folder, refused, write};
use crate::bundle;

/// Length that texts are cut to.
const MAX_LENGTH: usize = 24;

/// Words of the tokenizers that seeds are made of.
const TOKENS: [&str; 14] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "report", "says", ".", "##s", "who", "won",
    "the", "game",
];

pub(super) const TOKENIZER: Target = Target {
    name: "tokenizer",
    shape: Shape::Folder,
    words: &[
        "model",
        "type",
        "WordPiece",
        "BPE",
        "Unigram",
        "WordLevel",
        "vocab",
        "merges",
        "unk_token",
        "unk_id",
        "added_tokens",
        "content",
        "special",
        "normalizer",
        "Sequence",
        "Replace",
        "Regex",
        "(a*)*b",
        "pattern",
        "pre_tokenizer",
        "ByteLevel",
        "Metaspace",
        "Split",
        "post_processor",
        "TemplateProcessing",
        "BertProcessing",
        "RobertaProcessing",
        "padding",
        "truncation",
        "max_length",
        "stride",
        "pad_id",
        "byte_fallback",
        "precompiled_charsmap",
        "do_lower_case",
        "tokenizer_class",
        "model_max_length",
        "[CLS]",
        "[SEP]",
        "<s>",
        "$A:0",
    ],
    seeds: tokenizer_seeds,
    run: |input| {
        in_folder(|folder| {
            bundle::unpack(input, folder).map_err(refused)?;
            let tokenizer = TextTokenizer::load(folder, MAX_LENGTH).map_err(refused)?;
            encode(&tokenizer)
        })
    },
};

fn tokenizer_seeds() -> anyhow::Result<Seeds> {
    let file = |name: &str, contents: &str| (name.to_string(), contents.as_bytes().to_vec());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tokenizer.json");
    spry_data::tokenize::write_wordpiece(&path, &TOKENS.map(str::to_string))?;
    let wordpiece = std::fs::read_to_string(&path)?;
    let special = r#""unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
        "pad_token": "[PAD]", "mask_token": "[MASK]""#;
    let config = format!(
        r#"{{"do_lower_case": true, {special}, "model_max_length": 512,
            "tokenizer_class": "BertTokenizer"}}"#
    );
    let special = format!("{{{special}}}");
    let folders = [
        (
            "valid-wordpiece",
            vec![
                file("tokenizer.json", &wordpiece),
                file("tokenizer_config.json", &config),
                file("special_tokens_map.json", &special),
            ],
        ),
        (
            "valid-vocab-txt",
            vec![
                file("vocab.txt", &(TOKENS.join("\n") + "\n")),
                file("tokenizer_config.json", &config),
            ],
        ),
        ("valid-bpe", vec![file("tokenizer.json", BPE)]),
        ("valid-unigram", vec![file("tokenizer.json", UNIGRAM)]),
        (
            "vocab-and-merges",
            vec![
                file(
                    "vocab.json",
                    r#"{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "ab": 6}"#,
                ),
                file("merges.txt", "#version: 0.2\na b\n"),
                file("tokenizer_config.json", r#"{"tokenizer_class": "RobertaTokenizer"}"#),
            ],
        ),
        (
            "added-tokens",
            vec![
                file("vocab.txt", &(TOKENS.join("\n") + "\n")),
                file("added_tokens.json", r#"{"[NEW]": 14}"#),
            ],
        ),
    ];
    let encoded = folders.iter().map(|(name, files)| (name.to_string(), bundle::encode(files)));
    Ok(encoded.collect())
}

/// Byte pairs as Llama has them.
const BPE: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
 "normalized": false, "special": true}],
"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "_"},
 {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]},
"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
 {"type": "Split", "pattern": {"Regex": "\\s+|[a-z]+"}, "behavior": "Isolated", "invert": false},
 {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
"post_processor": {"type": "TemplateProcessing",
 "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
 "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
  {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
 "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
"decoder": {"type": "ByteFallback"},
"model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
 "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "ignore_merges": false,
 "vocab": {"<s>": 0, "<unk>": 1, "t": 2, "h": 3, "e": 4, "th": 5, "the": 6, "_": 7, "a": 8},
 "merges": ["t h", "th e"]}}"#;

/// Pieces with scores, as ALBERT has them.
const UNIGRAM: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
{"id": 0, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false,
 "normalized": false, "special": true}],
"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"},
 {"type": "Lowercase"}]},
"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
 "split": true},
"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
 "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
 "special_tokens": {}},
"decoder": null,
"model": {"type": "Unigram", "unk_id": 1, "byte_fallback": false, "vocab": [["<pad>", 0.0],
 ["<unk>", 0.0], ["▁the", -1.5], ["▁a", -2.0], ["▁", -3.0], ["g", -4.0], ["ame", -4.5]]}}"#;

/// Texts, pairs and questions through a tokenizer. One that is refused is fine.
fn encode(tokenizer: &TextTokenizer) -> Result<(), String> {
    let example = |text: &str, pair: Option<&str>| TextExample {
        text: text.to_string(),
        pair: pair.map(str::to_string),
        label: 0,
    };
    let examples = [
        example("The game: a report says\u{301} who won 😀.", None),
        example("g", None),
        example(&"the a ".repeat(40), Some("who won the game")),
    ];
    // Some tokenizers have no token for it.
    let _ = tokenizer.encode(&[example("", None)]);
    let encoded = tokenizer.encode(&examples).map_err(refused)?;
    assert!(encoded.iter().all(|example| example.input_ids.len() <= MAX_LENGTH), "too long");
    TokenBatch::pad(&encoded, tokenizer.pad_id());
    let context = "The game was won by the report. ".repeat(4);
    let answers = vec![spry_data::Answer { text: "report".to_string(), start: 24 }];
    let question =
        Question { question: "Who won the game?".to_string(), context: context.into(), answers };
    ask(tokenizer, std::slice::from_ref(&question)).map(drop)
}

/// Questions in windows, and answers from logits that like every span alike.
fn ask(tokenizer: &TextTokenizer, questions: &[Question]) -> Result<(), String> {
    for question in tokenizer.encode_questions(questions, 4).map_err(refused)? {
        let windows: Vec<_> = question.windows.iter().collect();
        TokenBatch::of_windows(&windows, tokenizer.pad_id());
        let flat = |length| SpanLogits { start: vec![0.5; length], end: vec![0.5; length] };
        let logits: Vec<_> = windows.iter().map(|window| flat(window.input_ids.len())).collect();
        answer(&question, &logits, &DecodeConfig::default());
    }
    Ok(())
}

thread_local! {
    /// A tokenizer for datasets.
    static WORDPIECE: RefCell<Option<TextTokenizer>> = const { RefCell::new(None) };
}

fn with_tokenizer<R>(work: impl FnOnce(&TextTokenizer) -> Result<R, String>) -> Result<R, String> {
    WORDPIECE.with_borrow_mut(|tokenizer| {
        if tokenizer.is_none() {
            let folder = tempfile::tempdir().map_err(refused)?;
            let path = folder.path().join("tokenizer.json");
            let words = TOKENS.map(str::to_string);
            spry_data::tokenize::write_wordpiece(&path, &words).map_err(refused)?;
            *tokenizer = Some(TextTokenizer::load(folder.path(), MAX_LENGTH).map_err(refused)?);
        }
        tokenizer.as_ref().map_or(Err("there is no tokenizer".to_string()), work)
    })
}

/// Words of Parquet's metadata.
const PARQUET_WORDS: &[&str] =
    &["PAR1", "schema", "text", "label", "list", "element", "question", "context", "answers"];

pub(super) const TEXTS: Target = Target {
    name: "dataset-texts",
    shape: Shape::Bytes,
    words: PARQUET_WORDS,
    seeds: || {
        let texts = synthetic::news(6, 0);
        let columns = [tables::text_column("text"), "OPTIONAL INT64 label;".to_string()];
        let written: Vec<_> = texts.examples.iter().map(|e| Some(e.text.clone())).collect();
        let labels: Vec<i64> = texts.labels().iter().map(|&label| label as i64).collect();
        let leaves = [tables::texts(&written), tables::longs(&labels)];
        styles(|style| tables::file(&columns, &leaves, style))
    },
    run: |input| in_folder(|folder| dataset(folder, input, &spec::TEXT_AND_LABEL.layout())),
};

pub(super) const QUESTIONS: Target = Target {
    name: "dataset-questions",
    shape: Shape::Bytes,
    words: PARQUET_WORDS,
    seeds: || {
        let rows = question_rows(&serde_json::from_str(QUESTIONS_AS_JSON)?);
        styles(|style| rows.file(style))
    },
    run: |input| in_folder(|folder| dataset(folder, input, &spec::SQUAD_V2.layout())),
};

/// A file in each style.
fn styles(file: impl Fn(Style) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Seeds> {
    let styles = [
        ("plain", Style { is_compressed: false, is_plain: true }),
        ("dictionary", Style::default()),
        ("zstd", Style { is_compressed: true, is_plain: false }),
        ("zstd-plain", Style { is_compressed: true, is_plain: true }),
    ];
    let seed = |(name, style)| Ok((format!("valid-{name}.parquet"), file(style)?));
    styles.into_iter().map(seed).collect()
}

/// Reads a file, and takes what it has to token ids.
fn dataset(folder: &Path, input: &[u8], layout: &Layout) -> Result<(), String> {
    let path = write(folder, "train.parquet", input)?;
    let dataset = Dataset::from_files(&[path], "fuzz", layout).map_err(refused)?;
    assert_eq!(dataset.labels().len(), dataset.len(), "a label for each example");
    let classes = dataset.classes().len();
    assert!(dataset.labels().iter().all(|&label| label < classes), "a label without a class");
    with_tokenizer(|tokenizer| match &dataset {
        Dataset::Texts(texts) => tokenizer.encode(&texts.examples).map(drop).map_err(refused),
        Dataset::Questions(questions) => ask(tokenizer, &questions.questions),
    })
}

/// Questions as rows: what a file says may contradict itself in ways that flipped bits seldom find.
pub(super) const QUESTION_ROWS: Target = Target {
    name: "question-rows",
    shape: Shape::Json,
    words: &["title", "question", "context", "texts", "starts", "é", "a\u{301}", " ", "\n"],
    seeds: || Ok(vec![("valid-squad.json".to_string(), QUESTIONS_AS_JSON.into())]),
    run: |input| {
        let rows: Value = serde_json::from_slice(input).map_err(refused)?;
        let file = question_rows(&rows).file(Style::default());
        let file = file.map_err(|error| error.to_string())?;
        in_folder(|folder| dataset(folder, &file, &spec::SQUAD_V2.layout()))
    },
};

const QUESTIONS_AS_JSON: &str = r#"[
{"title": "Games", "question": "Who won the game?", "context": "The game was won by a report.",
 "texts": ["a report", "report"], "starts": [20, 22]},
{"title": "Games", "question": "What says the report?", "context": "The game was won by a report.",
 "texts": [], "starts": []},
{"title": "Cafés", "question": "Where?", "context": "In the café — 😀 — of the game. The end, says a.",
 "texts": ["café — 😀"], "starts": [7]}]"#;

/// Columns of SQuAD.
#[derive(Default)]
struct QuestionRows {
    /// Title, question and context.
    texts: [Vec<Option<String>>; 3],
    answers: Vec<Vec<String>>,
    starts: Vec<Vec<i32>>,
}

/// Whatever of a document has the form of rows.
fn question_rows(document: &Value) -> QuestionRows {
    const MOST: usize = 64;
    let mut rows = QuestionRows::default();
    for row in document.as_array().into_iter().flatten().take(MOST) {
        for (column, name) in rows.texts.iter_mut().zip(["title", "question", "context"]) {
            column.push(row[name].as_str().map(str::to_string));
        }
        let list = |name: &str| row[name].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        rows.answers.push(list("texts").iter().map(text).collect());
        let start = |value: &Value| value.as_i64().map(|start| start as i32);
        rows.starts.push(list("starts").iter().filter_map(start).collect());
    }
    rows
}

impl QuestionRows {
    fn file(&self, style: Style) -> anyhow::Result<Vec<u8>> {
        let columns: Vec<String> = ["title", "question", "context"]
            .into_iter()
            .map(tables::text_column)
            .chain([tables::answers_column()])
            .collect();
        let leaves = self.texts.iter().map(|column| tables::texts(column));
        let leaves: Vec<_> = leaves.chain(tables::answers(&self.answers, &self.starts)).collect();
        tables::file(&columns, &leaves, style)
    }
}

/// Labels whose partition is kept.
const LABELS: [usize; 12] = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1];

fn partition(cache: &Path) -> Result<(), String> {
    let cache = PartitionCache::new(cache);
    let partition =
        cache.partition(&Partitioner::Iid, &LABELS, &[], 3, 0.75, 0).map_err(refused)?;
    let shares = partition.clients.iter().flat_map(|share| share.train.iter().chain(&share.test));
    let mut dealt: Vec<usize> = shares.copied().collect();
    dealt.sort_unstable();
    assert_eq!(partition.clients.len(), 3, "a share for each client");
    assert!(dealt.iter().all(|&example| example < LABELS.len()), "an example that there is not");
    dealt.dedup();
    Ok(())
}

/// The only file of a folder.
fn only_file(folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let mut entries = std::fs::read_dir(folder)?;
    Ok(entries.next().ok_or_else(|| anyhow::anyhow!("the folder is empty"))??.path())
}

pub(super) const PARTITION: Target = Target {
    name: "partition",
    shape: Shape::Bytes,
    words: &[],
    seeds: || {
        let folder = tempfile::tempdir()?;
        partition(folder.path()).map_err(anyhow::Error::msg)?;
        let bytes = std::fs::read(only_file(folder.path())?)?;
        Ok(vec![("valid-iid.partition".to_string(), bytes)])
    },
    run: |input| {
        thread_local! {
            /// Where the partition of these labels is kept.
            static NAME: RefCell<Option<String>> = const { RefCell::new(None) };
        }
        in_folder(|folder| {
            let name = match NAME.take() {
                Some(name) => name,
                None => {
                    partition(folder)?;
                    let path = only_file(folder).map_err(|error| error.to_string())?;
                    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
                }
            };
            // A checksum of 32 bytes, then the partition.
            let body = input.get(32..).unwrap_or_default();
            let sealed = [blake3::hash(body).as_bytes(), body].concat();
            let outcome = write(folder, &name, &sealed).and_then(|_| partition(folder));
            NAME.set(Some(name));
            outcome
        })
    },
};
