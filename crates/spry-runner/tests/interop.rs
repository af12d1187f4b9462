//! What leaves the program, read by those it is meant for: peft, transformers, TensorBoard.
//!
//! Needs a Python with these packages: the one in the variable `SPRY_PYTHON`, or `python3`. Without
//! it the tests say so and are skipped, unless `SPRY_INTEROP=required`, as `cargo xtask interop`
//! sets it.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use common::{SMALL, small_run, spry, succeed};
use serde_json::Value;
use spry_data::{synthetic, tokenize};
use spry_models::{LoadOptions, Model};
use spry_runner::run::metrics::read_rounds;
use spry_runner::run::records::{RoundRow, curve};

/// A Python that has the packages; `None`, after a message, if there is none.
fn python(packages: &[&str]) -> Option<String> {
    let python = std::env::var("SPRY_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let import = format!("import {}", packages.join(", "));
    let output = Command::new(&python).args(["-c", &import]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let message = format!("{python} does not have {}", packages.join(", "));
    assert!(std::env::var("SPRY_INTEROP").as_deref() != Ok("required"), "{message}");
    // Not `println!`, which the test harness swallows: a skip must be seen.
    let line = format!("SKIPPED: {message}; set SPRY_PYTHON to one that has (pip install)\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

fn script(python: &str, name: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    let mut command = Command::new(python);
    command.arg(folder.join(name)).env("HF_HUB_OFFLINE", "1");
    command
}

const PEFT: [&str; 4] = ["torch", "transformers", "peft", "safetensors"];

/// peft loads the export; the logits, loss, gradients and directional derivatives that PyTorch
/// computes with it are those that `spry verify` computes.
#[test]
fn peft_loads_what_is_exported() {
    let Some(python) = python(&PEFT) else { return };
    for peft in ["lora", "ia3"] {
        let folder = tempfile::tempdir().unwrap();
        let options = ["--set", &format!("peft={peft}"), "--out", "run"];
        succeed(spry(folder.path()).arg("run").args(SMALL).args(options));
        succeed(spry(folder.path()).args(["export", "run", "exported", "--with-base-model"]));
        let (exported, case) = (folder.path().join("exported"), folder.path().join("case"));
        succeed(script(&python, "reference_case.py").args([&exported, &case]));
        let text = succeed(spry(folder.path()).args(["verify", "case"]));
        println!("{peft}: {text}");
        assert!(text.starts_with("ok "), "{text}");
        // And back: an adapter that peft saved starts a run.
        succeed(spry(folder.path()).args(["import", "case", "--out", "again"]).args(SMALL));
    }
}

/// A tiny model of a family with random weights, as a Hugging Face directory.
fn write_model(family: &str, folder: &Path) {
    let sizes = match family {
        "distilbert" => r#""dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24"#,
        "opt" => {
            r#""hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24,
            "word_embed_proj_dim": 12, "do_layer_norm_before": false, "init_std": 0.3"#
        }
        _ => {
            r#""hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 24, "embedding_size": 12, "initializer_range": 0.3"#
        }
    };
    // Llamas have none, and Hugging Face's decoders take no batches without.
    let padding = if family == "llama" { "" } else { r#""pad_token_id": 0,"# };
    let vocabulary = synthetic::vocabulary();
    let config = format!(
        r#"{{"model_type": "{family}", "vocab_size": {}, "max_position_embeddings": 80,
        {padding} {sizes}}}"#,
        vocabulary.len()
    );
    let model = Model::random(&config, &LoadOptions::default()).unwrap();
    model.save(folder, &Default::default()).unwrap();
    std::fs::write(folder.join("config.json"), config).unwrap();
    tokenize::write_wordpiece(&folder.join("tokenizer.json"), &vocabulary).unwrap();
}

/// Every family, with heads of one layer and of two, for both tasks: what is exported computes the
/// same in Python.
#[test]
fn peft_loads_every_family() {
    let Some(python) = python(&PEFT) else { return };
    let lora = |family| (family, "ag_news", "peft=lora");
    for (family, dataset, peft) in [
        lora("roberta"),
        lora("distilbert"),
        lora("albert"),
        lora("llama"),
        lora("opt"),
        ("distilbert", "ag_news", "peft=ia3"),
        ("llama", "ag_news", "peft=ia3"),
        ("bert", "squad_v2", "peft.use_rslora=true"),
        ("roberta", "squad_v2", "peft=lora"),
        ("opt", "squad_v2", "peft=lora"),
        ("bert", "snli", "peft.modules_to_save=pooler.dense"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        write_model(family, &model);
        let preset = format!("{dataset}-fedavg");
        let mut run = spry(folder.path());
        run.args(["run", "--preset", &preset, "--out", "run", "--set", peft, "--set"]);
        run.arg(format!("model.name_or_path={}", model.display()));
        for option in [
            "dataset.source=synthetic",
            "dataset.max_examples=80",
            "dataset.num_clients=4",
            "dataset.max_length=48",
            "cohort_size=4",
            "num_server_rounds=1",
            "model.fresh_head=true",
            "learning_rate=0.05",
        ] {
            run.args(["--set", option]);
        }
        succeed(&mut run);
        succeed(spry(folder.path()).args(["export", "run", "exported", "--with-base-model"]));
        let (exported, case) = (folder.path().join("exported"), folder.path().join("case"));
        succeed(script(&python, "reference_case.py").args([&exported, &case]));
        let text = succeed(spry(folder.path()).args(["verify", "case"]));
        println!("{family}, {dataset}, {peft}: {text}");
        assert!(text.starts_with("ok "), "{family}, {dataset}, {peft}: {text}");
    }
}

#[test]
fn transformers_loads_whole_models() {
    let Some(python) = python(&PEFT) else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = ["--set", "peft=bitfit", "--out", "run"];
    succeed(spry(folder.path()).arg("run").args(SMALL).args(options));
    succeed(spry(folder.path()).args(["export", "run", "model"]));
    let model = folder.path().join("model");
    let printed = succeed(script(&python, "load_model.py").arg(&model));
    let theirs: Vec<f64> = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    let ours = logits(&model, &[2, 7, 8, 3]);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
    }
    assert_eq!(ours.len(), theirs.len());
}

/// The logits of a model directory for one text.
fn logits(folder: &Path, ids: &[i64]) -> Vec<f64> {
    use spry_core::{DualParams, Seed};
    use spry_models::{Peft, PeftModel};
    let model = Model::load(folder, &LoadOptions::default()).unwrap();
    assert!(model.fresh().is_empty(), "{:?}", model.fresh());
    let model = PeftModel::new(std::sync::Arc::new(model), Peft::Head).unwrap();
    let batch = spry_data::TokenBatch {
        batch: 1,
        seq: ids.len(),
        input_ids: ids.to_vec(),
        token_type_ids: vec![0; ids.len()],
        attention_mask: vec![1.0; ids.len()],
        targets: spry_data::Targets::Classes(vec![0]),
    };
    let params = model.trainable(&Seed::new(0)).unwrap();
    let objective = model.objective(&batch, None).unwrap();
    let logits = objective.logits(&DualParams::constant(&params)).unwrap();
    logits.into_primal().into_data().convert::<f64>().iter::<f64>().collect()
}

#[test]
fn tensorboard_reads_every_scalar() {
    let Some(python) = python(&["tensorboard"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    check_events(&python, &run);
    // A resumed run has nothing twice.
    let config = run.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("num_server_rounds = 3", "num_server_rounds = 5"))
        .unwrap();
    succeed(spry(folder.path()).args(["resume", "run"]));
    check_events(&python, &run);
}

fn check_events(python: &str, run: &Path) {
    let printed = succeed(script(python, "read_events.py").arg(run.join("tensorboard")));
    let read: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    let rows = read_rounds(&run.join("rounds.parquet")).unwrap();
    let rounds = || rows.iter().filter(|row| row.server_round > 0);
    type Column = (&'static str, fn(&RoundRow) -> Option<f64>);
    let columns: [Column; 4] = [
        ("loss/train", |row| row.train_loss),
        ("loss/generalized", |row| row.generalized_loss),
        ("accuracy/generalized", |row| row.generalized_accuracy),
        ("accuracy/personalized", |row| row.personalized_accuracy),
    ];
    for (tag, value) in columns {
        let expected = curve(&rows, value);
        let scalars: Vec<(f64, f64)> = serde_json::from_value(read[tag].clone()).unwrap();
        assert_eq!(scalars.len(), expected.len(), "{tag}");
        for ((step, read), (round, written)) in scalars.iter().zip(&expected) {
            assert_eq!(step, round, "{tag}");
            assert!((read - written).abs() <= 1e-6 * written.abs(), "{tag}: {read} {written}");
        }
    }
    let sent: Vec<(u64, f64)> = serde_json::from_value(read["cost/bytes_up"].clone()).unwrap();
    assert_eq!(sent.len(), rounds().count());
    assert_eq!(read.as_object().unwrap().len(), 13, "{read}");
}
