//! Reading datasets from disk: what works, and what a user sees when it does not.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use spry_data::spec::{AG_NEWS, SST2};
use spry_data::{
    Dataset, DatasetSpec, Hub, Source, TextDataset, TextTokenizer, TokenBatch, synthetic, tokenize,
};

fn write(path: &Path, text_column: &str, rows: &[(&str, i64)], compression: Compression) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema = format!(
        "message schema {{ REQUIRED BYTE_ARRAY {text_column} (UTF8); REQUIRED INT64 label; }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(row.0)).collect();
    let labels: Vec<i64> = rows.iter().map(|row| row.1).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

fn offline() -> Hub {
    Hub::from_variables(|_| None).with_offline(true)
}

fn load_from(hub: &Hub, source: &Source, spec: &DatasetSpec) -> spry_data::Result<TextDataset> {
    match Dataset::load(hub, source, spec.name, &spec.layout())? {
        Dataset::Texts(dataset) => Ok(dataset),
        Dataset::Questions(_) => panic!("{} has texts", spec.name),
    }
}

fn load(folder: &Path) -> spry_data::Result<TextDataset> {
    load_from(&offline(), &Source::Directory(folder.to_path_buf()), &AG_NEWS)
}

#[test]
fn shards_are_read_in_order_with_every_usual_compression() {
    let folder = tempfile::tempdir().unwrap();
    let shard = |index| folder.path().join(format!("data/train-0000{index}-of-00007.parquet"));
    write(&shard(1), "text", &[("second", 1)], Compression::SNAPPY);
    write(&shard(0), "text", &[("first", 3)], Compression::UNCOMPRESSED);
    write(&shard(2), "text", &[("third", 0)], Compression::ZSTD(Default::default()));
    write(&shard(3), "text", &[("fourth", 2)], Compression::GZIP(Default::default()));
    write(&shard(4), "text", &[("fifth", 0)], Compression::BROTLI(Default::default()));
    write(&shard(5), "text", &[("sixth", 1)], Compression::LZ4_RAW);
    write(&shard(6), "text", &[("seventh", 1)], Compression::LZ4);
    let dataset = load(folder.path()).unwrap();
    let texts: Vec<&str> = dataset.examples.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(texts, ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"]);
    assert_eq!(dataset.labels(), [3, 1, 0, 2, 0, 1, 1]);
    assert_eq!(dataset.classes[3], "Sci/Tech");
}

#[test]
fn bad_data_is_an_error_that_names_file_row_and_column() {
    type Case = (fn(&Path), &'static [&'static str]);
    let cases: &[Case] = &[
        (|_| {}, &["no Parquet file for split `train`", "data/train-00000-of-00001.parquet"]),
        (
            |file| write(file, "body", &[("x", 0)], Compression::SNAPPY),
            &["no column `text`", "its columns are body, label"],
        ),
        (
            |file| write(file, "text", &[("x", 0), ("y", 4)], Compression::SNAPPY),
            &["row 1", "column `label`", "must be at least 0 and below 4"],
        ),
        (
            |file| write(file, "text", &[("x", -1)], Compression::SNAPPY),
            &["row 0", "the label is -1"],
        ),
        (|file| write(file, "text", &[], Compression::SNAPPY), &["has no examples"]),
        (
            |file| {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, b"not parquet").unwrap();
            },
            &["not a readable Parquet file"],
        ),
        (
            |file| {
                write(file, "text", &[("a longer text", 0); 50], Compression::SNAPPY);
                let bytes = std::fs::read(file).unwrap();
                std::fs::write(file, &bytes[..bytes.len() - 20]).unwrap();
            },
            &["not a readable Parquet file"],
        ),
    ];
    for (spoil, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        spoil(&folder.path().join("data/train-00000-of-00001.parquet"));
        let message = load(folder.path()).unwrap_err().to_string();
        for part in *expected {
            assert!(message.contains(part), "{message:?} does not contain {part:?}");
        }
    }
}

/// Any damage is an error or goes unnoticed, but never a panic.
#[test]
fn damaged_bytes_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/train-00000-of-00001.parquet");
    // The parquet crate's own panics are caught; their messages would fill the test's output.
    std::panic::set_hook(Box::new(|_| {}));
    let rows: Vec<(&str, i64)> = (0..40).map(|i| ("some text of an article", i % 4)).collect();
    for compression in [Compression::SNAPPY, Compression::ZSTD(Default::default())] {
        write(&file, "text", &rows, compression);
        let whole = std::fs::read(&file).unwrap();
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0xff;
            std::fs::write(&file, damaged).unwrap();
            let _ = load(folder.path());
        }
    }
    let _ = std::panic::take_hook();
}

#[test]
fn offline_mode_says_what_is_missing_and_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let path = cache.path().to_str().unwrap().to_string();
    let hub = Hub::from_variables(|name| match name {
        "HF_HUB_OFFLINE" => Some("1".to_string()),
        "HF_HUB_CACHE" => Some(path.clone()),
        _ => None,
    });
    let source = Source::Hub(AG_NEWS.hub_id.to_string());
    let error = load_from(&hub, &source, &AG_NEWS).unwrap_err();
    assert!(error.is_offline());
    let message = error.to_string();
    assert!(
        message.contains("fancyzhx/ag_news") && message.contains("HF_HUB_OFFLINE"),
        "{message}"
    );
}

#[test]
fn a_cached_snapshot_is_used_without_network() {
    let cache = tempfile::tempdir().unwrap();
    let repo = cache.path().join("datasets--nyu-mll--glue");
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), "abc").unwrap();
    let file = repo.join("snapshots/abc/sst2/train-00000-of-00001.parquet");
    write(&file, "sentence", &[("a fine film", 1)], Compression::SNAPPY);
    let file = repo.join("snapshots/abc/sst2/validation-00000-of-00001.parquet");
    write(&file, "sentence", &[("a dull film", 0)], Compression::SNAPPY);
    let path = cache.path().to_str().unwrap().to_string();
    let hub = Hub::from_variables(|name| (name == "HF_HUB_CACHE").then(|| path.clone()))
        .with_offline(true);
    let source = Source::Hub(SST2.hub_id.to_string());
    let dataset = load_from(&hub, &source, &SST2).unwrap();
    let texts: Vec<&str> = dataset.examples.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(texts, ["a fine film", "a dull film"]);
}

#[test]
fn an_unreachable_hub_is_reported_quickly() {
    let cache = tempfile::tempdir().unwrap();
    let path = cache.path().to_str().unwrap().to_string();
    // Port 1 on this machine: nothing listens there.
    let hub = Hub::from_variables(|name| match name {
        "HF_ENDPOINT" => Some("http://127.0.0.1:1".to_string()),
        "HF_HUB_CACHE" => Some(path.clone()),
        _ => None,
    });
    let started = std::time::Instant::now();
    let source = Source::Hub(AG_NEWS.hub_id.to_string());
    let error = load_from(&hub, &source, &AG_NEWS).unwrap_err();
    assert!(error.is_offline(), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(started.elapsed().as_secs() < 8);
}

#[test]
fn tokenizers_truncate_and_batches_pad_to_the_longest() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = synthetic::vocabulary();
    tokenize::write_wordpiece(&folder.path().join("tokenizer.json"), &vocabulary).unwrap();
    let tokenizer = TextTokenizer::load(folder.path(), 12).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), vocabulary.len());
    let news = synthetic::news(64, 0);
    let encoded = tokenizer.encode(&news.examples).unwrap();
    let (cls, sep) = (tokenizer.token_id("[CLS]").unwrap(), tokenizer.token_id("[SEP]").unwrap());
    let unknown = tokenizer.token_id("[UNK]").unwrap();
    for example in &encoded {
        assert!(example.input_ids.len() <= 12);
        assert_eq!(example.input_ids[0], cls);
        assert_eq!(*example.input_ids.last().unwrap(), sep);
        assert!(!example.input_ids.contains(&unknown));
    }
    assert!(encoded.iter().any(|example| example.input_ids.len() == 12));
    let batch = TokenBatch::pad(&encoded[..8], tokenizer.pad_id());
    let longest = encoded[..8].iter().map(|example| example.input_ids.len()).max().unwrap();
    assert_eq!(batch.seq, longest);
    assert_eq!(batch.input_ids.len(), 8 * longest);
}

#[test]
fn a_word_list_gives_the_same_tokens_as_the_tokenizer_file() {
    let (json, list) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vocabulary = synthetic::vocabulary();
    tokenize::write_wordpiece(&json.path().join("tokenizer.json"), &vocabulary).unwrap();
    std::fs::write(list.path().join("vocab.txt"), vocabulary.join("\n")).unwrap();
    let news = synthetic::news(16, 5);
    let encode =
        |folder: &Path| TextTokenizer::load(folder, 64).unwrap().encode(&news.examples).unwrap();
    assert_eq!(encode(json.path()), encode(list.path()));
}

#[test]
fn a_folder_without_tokenizer_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let message = TextTokenizer::load(folder.path(), 64).unwrap_err().to_string();
    assert!(message.contains("vocab.txt"), "{message}");
    std::fs::write(folder.path().join("tokenizer.json"), "{").unwrap();
    let message = TextTokenizer::load(folder.path(), 64).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json"), "{message}");
}
