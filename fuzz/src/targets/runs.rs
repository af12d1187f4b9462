//! Runs: configurations, checkpoints, and the files of a run's folder.

use std::path::{Path, PathBuf};

use spry_runner::RunConfig;
use spry_runner::compare::Comparison;
use spry_runner::run::checkpoint::{Best, Checkpoint, Positions};
use spry_runner::run::metrics::{self, read_resources, read_rounds};
use spry_runner::run::records::{
    ClientEntry, ClientRow, Evaluated, FinishedRound, Records, ResourceRow, RoundEntry, RoundRow,
    running_total,
};
use spry_runner::run::rows::{self, Position, RowFile};
use spry_runner::run::{RunFolder, SavedSummary, Summary};

use super::{Seeds, Shape, Target, in_folder, messages, refused, write};
use crate::bundle;

/// Keys and values of configurations.
const WORDS: &[&str] = &[
    "none",
    "seed",
    "experiment",
    "cohort_size",
    "num_server_rounds",
    "learning_rate",
    "method",
    "method.name",
    "spry",
    "fedavg",
    "fedmezo",
    "estimator",
    "estimator.k",
    "forward-gradient",
    "spsa",
    "exchange",
    "exchange.optimizer",
    "per-epoch",
    "adamw",
    "server",
    "adaptive",
    "rule",
    "yogi",
    "dataset",
    "dataset.labels",
    "dropped_labels",
    "dataset.partitioner",
    "dirichlet",
    "alpha",
    "natural",
    "max_length",
    "model",
    "name_or_path",
    "tiny-bert",
    "adapter",
    "peft",
    "lora",
    "ia3",
    "target_modules",
    "r",
    "lora_alpha",
    "device",
    "jobs",
    "[method]",
    "[[a]]",
    "\"\"\"",
    "{a=1}",
    "1979-05-27T07:32:00Z",
];

/// What a configuration must do that was accepted: be written, and read back as the same.
fn keep(config: RunConfig) -> Result<(), String> {
    let text = config.to_toml().map_err(refused)?;
    let again = RunConfig::default().with_toml(&text);
    let again = again.unwrap_or_else(|error| panic!("what was written is refused: {error}"));
    assert_eq!(again.differing_keys(&config), [""; 0], "what is read back differs");
    config.flat();
    config.validate().map_err(refused)
}

pub(super) const CONFIG: Target = Target {
    name: "run-config",
    shape: Shape::Text,
    words: WORDS,
    seeds: || {
        let mut seeds = Seeds::new();
        for name in ["smoke", "ag_news-spry", "squad_v2-fedyogi"] {
            let config = spry_runner::presets::find(name)?.config()?;
            seeds.push((format!("valid-{name}.toml"), config.to_toml()?.into_bytes()));
        }
        let text = "seed = 3\nmethod = \"fedmezo\"\nlearning_rate = 1e-3\n\n[dataset]\n\
                    labels = [\"no\", \"yes\"]\nmax_examples = 10\n";
        seeds.push(("valid-few.toml".to_string(), text.into()));
        Ok(seeds)
    },
    run: |input| {
        let text = std::str::from_utf8(input).map_err(refused)?;
        keep(RunConfig::default().with_toml(text).map_err(refused)?)
    },
};

pub(super) const ASSIGNMENTS: Target = Target {
    name: "assignments",
    shape: Shape::Text,
    words: WORDS,
    seeds: || {
        let texts = [
            (
                "valid-method",
                "method=fedmezo\nmethod.exchange.epochs=2\nseed=7\nlearning_rate=1e-4",
            ),
            ("valid-lists", "peft.target_modules=query,value\ndataset.labels=[\"a\", \"b\"]"),
            ("valid-model", "model=tiny-bert\nmodel.dropout=true\nmodel.adapter=null\npeft.r=4"),
        ];
        Ok(texts.map(|(name, text)| (name.to_string(), text.into())).to_vec())
    },
    run: |input| {
        let text = std::str::from_utf8(input).map_err(refused)?;
        let lines: Vec<&str> = text.lines().collect();
        keep(RunConfig::default().with_assignments(&lines).map_err(refused)?)
    },
};

/// Bytes before a checkpoint's contents: what it is, and a checksum.
const HEADER: (usize, usize) = (8, 40);

pub(super) const CHECKPOINT: Target = Target {
    name: "run-checkpoint",
    shape: Shape::Bytes,
    words: &["SPRYCK", "group.0.weight", "group.1.weight", "seed = 1"],
    seeds: || {
        let folder = tempfile::tempdir()?;
        let snapshot = messages::snapshot().map_err(anyhow::Error::msg)?;
        let params = snapshot.state.params.clone();
        let checkpoint = Checkpoint {
            config: "seed = 1\n".to_string(),
            fingerprint: [7; 32],
            rows: Positions::default(),
            snapshot,
            best: Some(Best { server_round: 1, score: 0.5, params }),
        };
        checkpoint.write(folder.path())?;
        let path = std::fs::read_dir(folder.path())?.next();
        let path = path.ok_or_else(|| anyhow::anyhow!("no checkpoint was written"))??.path();
        Ok(vec![("valid-fedyogi.ckpt".to_string(), std::fs::read(path)?)])
    },
    run: |input| {
        in_folder(|folder| {
            let as_it_is = read_checkpoint(folder, input);
            match sealed(input) {
                Some(sealed) if sealed != input => {
                    assert!(as_it_is.is_err(), "a wrong checksum was accepted");
                    read_checkpoint(folder, &sealed)
                }
                _ => as_it_is,
            }
        })
    },
};

/// The same with the right checksum.
fn sealed(input: &[u8]) -> Option<Vec<u8>> {
    let (start, end) = HEADER;
    let (magic, body) = (input.get(..start)?, input.get(end..)?);
    Some([magic, blake3::hash(body).as_bytes(), body].concat())
}

/// Reads a checkpoint, and goes on from it.
fn read_checkpoint(folder: &Path, bytes: &[u8]) -> Result<(), String> {
    let path = write(folder, "round-00000002.ckpt", bytes)?;
    let checkpoint = Checkpoint::read(&path).map_err(refused)?;
    let config = RunConfig::default().with_toml(&checkpoint.config).map_err(refused)?;
    config.flat();
    if let Some(best) = &checkpoint.best {
        best.params.check_finite().map_err(refused)?;
    }
    messages::go_on(checkpoint.snapshot)
}

fn rounds() -> Vec<RoundRow> {
    let row = |server_round: u64| RoundRow {
        server_round,
        updates: 2,
        train_loss: Some(0.5 / (1 + server_round) as f64),
        generalized_accuracy: (server_round > 0).then_some(0.25),
        ..Default::default()
    };
    (0..3).map(row).collect()
}

fn clients() -> Vec<ClientRow> {
    let row = |client: u64| ClientRow {
        server_round: 1,
        client,
        status: "used".to_string(),
        steps: Some(4),
        ..Default::default()
    };
    (0..2).map(row).collect()
}

fn resources() -> Vec<ResourceRow> {
    let row = |server_round: u64| ResourceRow {
        server_round,
        wall_secs: 1.5,
        finished_at_secs: 1e9,
        ..Default::default()
    };
    (0..3).map(row).collect()
}

/// A file that is written by a function, as bytes.
fn written(write: impl FnOnce(&Path) -> spry_runner::Result<()>) -> anyhow::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    write(&path)?;
    Ok(std::fs::read(path)?)
}

pub(super) const ROUNDS: Target = Target {
    name: "rounds",
    shape: Shape::Bytes,
    words: &["PAR1", "server_round", "wall_secs", "train_loss"],
    seeds: || {
        Ok(vec![
            ("valid-rounds.parquet".to_string(), written(|path| metrics::write(path, &rounds()))?),
            (
                "valid-resources.parquet".to_string(),
                written(|path| metrics::write(path, &resources()))?,
            ),
        ])
    },
    run: |input| {
        in_folder(|folder| {
            let path = write(folder, "rounds.parquet", input)?;
            let rounds = read_rounds(&path).map(drop).map_err(refused);
            rounds.or_else(|_| read_resources(&path).map(drop).map_err(refused))
        })
    },
};

/// What is appended to the file of rounds.
fn round_entries() -> Vec<RoundEntry> {
    let finished = |(row, cost): (RoundRow, ResourceRow)| {
        RoundEntry::Finished(Box::new(FinishedRound { row, cost, steps: 8, came_to_nothing: None }))
    };
    let evaluated = Evaluated { server_round: 0, accuracy: Some(0.25), ..Default::default() };
    let rounds = rounds().into_iter().zip(resources()).skip(1).map(finished);
    std::iter::once(RoundEntry::Evaluated(evaluated)).chain(rounds).collect()
}

pub(super) const ROWS: Target = Target {
    name: "rows",
    shape: Shape::Bytes,
    words: &["SPRYRW", "used", "failed"],
    seeds: || {
        let clients = ClientEntry { clients: clients(), resources: resources() };
        Ok(vec![
            (
                "valid-rounds.rows".to_string(),
                written(|path| {
                    let mut file = RowFile::at(path.to_path_buf(), Position::default());
                    round_entries().iter().try_for_each(|entry| file.append(entry))
                })?,
            ),
            (
                "valid-clients.rows".to_string(),
                written(|path| {
                    RowFile::at(path.to_path_buf(), Position::default()).append(&clients)
                })?,
            ),
        ])
    },
    run: |input| {
        in_folder(|folder| {
            let (sealed, end) = sealed_rows(input);
            let path = write(folder, "a.rows", input)?;
            if sealed != input {
                let end = Position { bytes: input.len() as u64, ..end.clone() };
                assert!(rows::verify(&path, &end).is_err(), "wrong checksums were accepted");
            }
            write(folder, "a.rows", &sealed)?;
            let mut records = Records::default();
            let read = rows::read(&path, &end, |entry: RoundEntry| {
                records.add(entry);
                Ok(())
            });
            records.client_steps_per_sec();
            running_total(&records.rounds, |row| row.bytes_up);
            read.or_else(|_| rows::read(&path, &end, |_: ClientEntry| Ok(()))).map_err(refused)
        })
    },
};

/// A file of rows with the right checksums, as far as it has whole entries, and the position there.
fn sealed_rows(input: &[u8]) -> (Vec<u8>, Position) {
    const MAGIC: usize = 8;
    let mut end = Position::default();
    let Some((magic, mut rest)) = input.split_at_checked(MAGIC) else {
        return (input.to_vec(), end);
    };
    let mut sealed = magic.to_vec();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        // The last entry is whatever there is.
        let body = u32::from_le_bytes(*length) as usize;
        let body = &after[..body.min(after.len().saturating_sub(32))];
        let length = (body.len() as u32).to_le_bytes();
        let mut hasher = blake3::Hasher::new();
        hasher.update(end.hash.as_bytes()).update(&length).update(body);
        end.hash = hasher.finalize();
        for part in [&length, body, end.hash.as_bytes()] {
            sealed.extend_from_slice(part);
        }
        rest = after.get(body.len() + 32..).unwrap_or_default();
    }
    end.bytes = sealed.len() as u64;
    (sealed, end)
}

fn summary() -> Summary {
    Summary {
        method: "spry".to_string(),
        dataset: "ag_news".to_string(),
        model: "tiny".to_string(),
        rounds: 2,
        generalized_accuracy: Some(0.25),
        classes: vec!["a".to_string(), "b".to_string()],
        wall_secs: 3.0,
        ..Default::default()
    }
}

/// The files of a run's folder that are read back, by the names that they have in an input.
fn files_of(folder: &RunFolder) -> [(&'static str, PathBuf); 4] {
    [
        ("config.toml", folder.config()),
        ("summary.json", folder.summary()),
        ("index.json", folder.row_index()),
        ("rounds.rows", folder.round_rows()),
    ]
}

pub(super) const FOLDER: Target = Target {
    name: "run-folder",
    shape: Shape::Folder,
    words: &["method", "experiment", "a\u{1b}[2J", "<svg>", "1e308", "summaries", "rows", "bytes"],
    seeds: || {
        let folder = tempfile::tempdir()?;
        let folder = RunFolder::create(folder.path())?;
        let config = RunConfig::default().with_toml("experiment = \"a\"\nseed = 1\n")?;
        folder.write_config(&config)?;
        let mut file = RowFile::at(folder.round_rows(), Position::default());
        round_entries().iter().try_for_each(|entry| file.append(entry))?;
        let rows = Positions { rounds: file.end().clone(), ..Default::default() };
        SavedSummary::write(&folder, &summary(), &config, rows)?;
        let read = |(name, path): (&str, PathBuf)| Ok((name.to_string(), std::fs::read(path)?));
        let files = files_of(&folder).into_iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(vec![("valid-two-rounds".to_string(), bundle::encode(&files))])
    },
    run: |input| {
        let mut files = bundle::decode(input);
        seal_folder(&mut files)?;
        in_folder(|path| {
            write(path, "config.toml", b"")?;
            let folder = RunFolder::look(path).map_err(refused)?;
            for (name, path) in files_of(&folder) {
                let Some((_, contents)) = files.iter().find(|file| file.0 == name) else {
                    return Err(format!("there is no {name}"));
                };
                let parent = path.parent().unwrap_or(&path);
                std::fs::create_dir_all(parent).map_err(refused)?;
                std::fs::write(&path, contents).map_err(refused)?;
            }
            let _ = folder.read_config();
            let comparison = Comparison::read(&[path.to_path_buf()]).map_err(refused)?;
            comparison.table();
            comparison.plots().map_err(refused)?;
            Ok(())
        })
    },
};

/// Puts the right checksums into the files of a run's folder. A summary and an index that cannot be
/// read are refused here: the program would wait whether they become better.
fn seal_folder(files: &mut bundle::Files) -> Result<(), String> {
    let file = |name: &str| {
        let contents = files.iter().find(|file| file.0 == name).map(|file| file.1.clone());
        contents.ok_or_else(|| format!("there is no {name}"))
    };
    let (summary, index) = (file("summary.json")?, file("index.json")?);
    serde_json::from_slice::<Summary>(&summary).map_err(refused)?;
    let (rows, end) = sealed_rows(&file("rounds.rows")?);
    let mut index: serde_json::Value = serde_json::from_slice(&index).map_err(refused)?;
    let entry = index.pointer_mut("/summaries/0").ok_or("the index has no entry")?;
    if !entry["rows"].is_object() || !entry["config"].is_object() {
        return Err("the index has no rows, or no configuration".to_string());
    }
    entry["summary"] = blake3::hash(&summary).to_hex().as_str().into();
    entry["rows"]["rounds"] = serde_json::to_value(&end).map_err(refused)?;
    serde_json::from_value::<Positions>(entry["rows"].clone()).map_err(refused)?;
    let text = serde_json::json!({"summaries": index["summaries"]});
    let text = serde_json::to_string_pretty(&text).map_err(refused)?;
    let text = text.strip_suffix("\n}").unwrap_or(&text);
    let checksum = blake3::hash(text.as_bytes()).to_hex();
    let sealed = format!("{text},\n  \"checksum\": \"{checksum}\"\n}}\n");
    for (name, contents) in files {
        match name.as_str() {
            "index.json" => *contents = sealed.clone().into_bytes(),
            "rounds.rows" => *contents = rows.clone(),
            _ => {}
        }
    }
    Ok(())
}
