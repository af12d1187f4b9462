//! What transformers makes of a folder's files is what is made of them here, or an error says why
//! not. `tokenizers/generate.py` asked it and wrote `tokenizers/cases.json`.

use std::path::Path;

use serde_json::Value;
use spry_data::{EncodedExample, Hub, Result, Source, TextExample, TextTokenizer};

/// Cases in which Python computes something else than anybody could mean; here they are errors with
/// these words.
const REFUSED: [(&str, &str); 2] = [
    // Python makes up a vocabulary of five words.
    ("bert with the files of a BPE", "neither tokenizer.json nor vocab.txt"),
    // Python takes pieces with scores for words.
    ("bert with the vocabulary of xlm-roberta, without a class", "is of the type Unigram"),
];

fn write(folder: &Path, files: &[(&str, &Value)]) {
    for (name, content) in files {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_string);
        std::fs::write(folder.join(name), text).unwrap();
    }
}

fn encode(
    folder: &Path,
    text: &str,
    pair: Option<&str>,
    max_length: usize,
) -> Result<EncodedExample> {
    let example = TextExample { text: text.to_string(), pair: pair.map(str::to_string), label: 0 };
    let encoded = TextTokenizer::load(folder, max_length)?.encode(&[example])?;
    Ok(encoded.into_iter().next().unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn tokens_and_segments_are_those_of_transformers() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/tokenizers/cases.json"
    ));
    let all: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let mut wrong = Vec::new();
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() > 90, "{} cases", cases.len());
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in case["files"].as_object().unwrap() {
            let shared = content.as_u64().map(|place| &all["shared"][place as usize]);
            write(folder.path(), &[(file, shared.unwrap_or(content))]);
        }
        let max_length = case["max_length"].as_u64().unwrap() as usize;
        let text = case["text"].as_str().unwrap();
        let encoded = encode(folder.path(), text, case["pair"].as_str(), max_length);
        let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
        match (encoded, case.get("ids")) {
            (Err(error), _)
                if refused.is_some_and(|(_, words)| error.to_string().contains(words)) => {}
            (Err(error), Some(_)) => wrong.push(format!("{name}: {error}")),
            (Err(_), None) => {}
            (Ok(encoded), None) => {
                wrong.push(format!("{name}: {:?}, not an error", encoded.input_ids))
            }
            (Ok(encoded), Some(expected)) => {
                if encoded.input_ids != ids(expected) || refused.is_some() {
                    wrong.push(format!("{name}: {:?}, not {expected}", encoded.input_ids));
                } else if encoded.token_type_ids != ids(&case["segments"]) {
                    wrong.push(format!("{name}: segments {:?}", encoded.token_type_ids));
                }
                let pad = TextTokenizer::load(folder.path(), max_length).unwrap().pad_id();
                if case["pad"].as_u64().is_some_and(|expected| expected != u64::from(pad)) {
                    wrong.push(format!("{name}: padding {pad}, not {}", case["pad"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\n";

#[test]
fn what_is_not_known_is_refused_by_name() {
    let cases: &[(&str, &str, &str)] = &[
        ("tokenizer_config.json", r#"{"do_upper_case": true}"#, "`do_upper_case` is not known"),
        ("tokenizer_config.json", r#"{"do_lower_case": "no"}"#, "`do_lower_case` is \"no\""),
        ("tokenizer_config.json", r#"{"truncation_side": "top"}"#, "`truncation_side`"),
        ("tokenizer_config.json", r#"{"tokenizer_class": "MPNetTokenizer"}"#, "`MPNetTokenizer`"),
        ("tokenizer_config.json", r#"{"auto_map": {"AutoTokenizer": ["a.B", null]}}"#, "auto_map"),
        ("tokenizer_config.json", r#"{"fast_tokenizer_files": ["tokenizer.4.json"]}"#, "fast_tok"),
        ("tokenizer_config.json", r#"{"cls_token": 3}"#, "`cls_token` is 3"),
        ("tokenizer_config.json", r#"{"cls_token": null}"#, "`cls_token` must be a token"),
        ("tokenizer_config.json", "[1]", "expected an object"),
        ("tokenizer_config.json", "{", "not JSON"),
        ("tokenizer_config.json", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("special_tokens_map.json", r#"{"cls_token": {"text": "x"}}"#, "without `content`"),
        ("added_tokens.json", r#"{"[HL]": "x"}"#, "the number of `[HL]`"),
    ];
    for (file, content, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
        std::fs::write(folder.path().join("vocab.txt"), WORDS).unwrap();
        assert!(encode(folder.path(), "good", None, 8).is_ok());
        std::fs::write(folder.path().join(file), content).unwrap();
        let message = encode(folder.path(), "good", None, 8).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains(file), "{content}: {message}");
        assert!(message.len() < 700, "{message}");
    }
}

#[test]
fn a_vocabulary_that_python_alone_reads_is_said_to_need_conversion() {
    for name in ["tokenizer.model", "spiece.model", "tekken.json"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), "x").unwrap();
        let message = encode(folder.path(), "good", None, 8).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains("save_pretrained"), "{message}");
    }
}

/// Four bytes that claim a table of 4 GB, for which the library would reserve 8.
#[test]
fn a_table_that_claims_to_be_larger_than_it_is_is_refused() {
    let file = |table: &str| {
        serde_json::json!({
            "version": "1.0", "added_tokens": [], "pre_tokenizer": null, "post_processor": null,
            "decoder": null,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": table}]},
            "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]},
        })
    };
    let folder = tempfile::tempdir().unwrap();
    for (table, expected) in [
        ("/////wAA", "claims a table of 4294967295 bytes"),
        ("AAEAAAAA", "claims a table of 256 bytes"),
        ("!!!!!!!!", "not base64"),
    ] {
        write(folder.path(), &[("tokenizer.json", &file(table))]);
        let message = encode(folder.path(), "a", None, 8).unwrap_err().to_string();
        assert!(message.contains(expected), "{table}: {message}");
    }
    let path = folder.path().join("tokenizer.json");
    std::fs::File::create(&path).unwrap().set_len((64 << 20) + 1).unwrap();
    let message = encode(folder.path(), "a", None, 8).unwrap_err().to_string();
    assert!(message.contains("67108865 bytes"), "{message}");
}

/// Damage is an error or goes unnoticed; it never panics, and nothing is printed by other threads.
#[test]
fn damaged_tokenizers_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let words: Vec<String> = WORDS.lines().map(str::to_string).collect();
    spry_data::tokenize::write_wordpiece(&path, &words).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let _ = encode(folder.path(), "good [MASK] worse", Some("bad"), 8);
    }
}

#[test]
fn a_long_text_gives_the_tokens_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    std::fs::write(folder.path().join("vocab.txt"), WORDS).unwrap();
    let long = "good bad ".repeat(2_000_000);
    let started = std::time::Instant::now();
    let encoded = encode(folder.path(), &long, None, 6).unwrap();
    assert_eq!(encoded.input_ids, [2, 5, 6, 5, 6, 3]);
    let encoded = encode(folder.path(), &long, Some(&long), 7).unwrap();
    assert_eq!(encoded.input_ids, [2, 5, 6, 3, 5, 6, 3]);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    // White space alone has no token to stop at.
    let late = " ".repeat(1_000_000) + "good";
    assert_eq!(encode(folder.path(), &late, None, 6).unwrap().input_ids, [2, 5, 3]);
    // The end counts where texts are cut on the left.
    let config = r#"{"truncation_side": "left"}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let text = "good ".repeat(100_000) + "bad";
    assert_eq!(encode(folder.path(), &text, None, 5).unwrap().input_ids, [2, 5, 5, 6, 3]);
}

#[test]
fn a_text_without_any_token_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"tokenizer_class": "GPT2Tokenizer"}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    std::fs::write(folder.path().join("vocab.json"), r#"{"a": 0, "b": 1, "ab": 2}"#).unwrap();
    std::fs::write(folder.path().join("merges.txt"), "a b\n").unwrap();
    assert_eq!(encode(folder.path(), "abba", None, 8).unwrap().input_ids, [2, 1, 0]);
    let message = encode(folder.path(), "", None, 8).unwrap_err().to_string();
    assert!(message.contains("example 0, ``: it has no token"), "{message}");
}

#[test]
fn a_repository_needs_one_vocabulary_and_may_have_the_rest() {
    for (files, is_enough) in [
        (&["tokenizer.json"][..], true),
        (&["vocab.txt", "tokenizer_config.json"], true),
        (&["vocab.json", "merges.txt"], true),
        (&["vocab.json"], false),
        (&["tokenizer_config.json", "added_tokens.json"], false),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let repo = cache.path().join("models--a--b");
        let commit = "0123456789abcdef0123456789abcdef01234567";
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), commit).unwrap();
        let snapshot = repo.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).unwrap();
        for file in files {
            std::fs::write(snapshot.join(file), "{}").unwrap();
        }
        let path = cache.path().to_str().unwrap().to_string();
        let hub = Hub::from_variables(|name| (name == "HF_HUB_CACHE").then(|| path.clone()))
            .with_offline(true);
        let found = spry_data::tokenize::find(&Source::Hub("a/b".to_string()), &hub);
        assert_eq!(found.is_ok(), is_enough, "{files:?}: {found:?}");
    }
}
