//! What users get wrong: each mistake ends in one line that names it, and in an exit code.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use common::{
    SMALL, TEXT_AND_LABEL, case, small_run, spry, stderr, tiny_bert, write_parquet, write_texts,
};

/// Arguments, a part of the message, and the exit code.
type Case<'a> = (&'a str, &'a str, i32);

/// Runs every command of a table. `~` stands for options that make a run small.
fn check(folder: &Path, cases: &[Case]) {
    for (arguments, expected, code) in cases {
        let mut command = spry(folder);
        for argument in arguments.split(' ') {
            match argument {
                "~" => command.args(SMALL),
                argument => command.arg(argument),
            };
        }
        let output = command.output().unwrap();
        let message = stderr(&output);
        println!("spry {arguments}\n  {} -> {:?}", message.trim(), output.status.code());
        assert_eq!(output.status.code(), Some(*code), "spry {arguments}: {message}");
        assert!(message.contains(expected), "spry {arguments}: {message}");
        let errors = message.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "spry {arguments}: {message}");
        assert!(!message.contains("panicked"), "spry {arguments}: {message}");
        let notes = message.lines().filter(|line| !line.starts_with("error: "));
        let is_warning = |line: &str| line.trim_start().starts_with("WARN");
        assert!(notes.clone().all(is_warning), "spry {arguments}: {message}");
        assert!(!folder.join("out").exists(), "spry {arguments}: left a folder behind");
    }
}

#[test]
fn flags_and_options() {
    let folder = tempfile::tempdir().unwrap();
    check(
        folder.path(),
        &[
            ("walk", "unrecognized subcommand 'walk'", 2),
            ("run --presets smoke", "unexpected argument '--presets'", 2),
            ("run", "there is nothing to run", 2),
            ("resume", "<RUN_DIR>", 2),
            ("run --preset smok", "did you mean `smoke`?", 2),
            ("presets ag_news-spri", "did you mean `ag_news-spry`?", 2),
            ("run ~ --jobs many", "invalid value 'many'", 2),
            ("run ~ --device abacus --out out", "`device` is `abacus`", 2),
            ("run ~ --out out --set cohort_sise=3", "did you mean `cohort_size`?", 2),
            ("run ~ --out out --set method.estimator.kk=3", "`method.estimator.kk`", 2),
            ("run ~ --out out --set batch_size=4", "did you mean `method.batch_size`?", 2),
            ("run ~ --out out --set estimator.k=4", "did you mean `method.estimator`?", 2),
            ("run ~ --out out --set dataset=some-org/my-data", "offline mode is on", 2),
            ("run ~ --out out --set dataset=ag_new", "did you mean `ag_news`?", 2),
            ("run ~ --out out --set dataset=my-newz", "which is no directory", 2),
            ("run ~ --out out --set cohort_size", "of the form path=value", 2),
            ("run ~ --out out --set cohort_size=three", "not a whole number of at least 0", 2),
            ("run ~ --out out --set cohort_size=2.5", "not a whole number", 2),
            ("run ~ --out out --set seed=-1", "not a whole number", 2),
            ("run ~ --out out --set personalized=maybe", "not true or false", 2),
            ("run ~ --out out --set peft.target_modules=3", "target module `3`", 2),
            ("run ~ --out out --set peft.target_modules={\"a\":3}", "not a list", 2),
            ("run ~ --out out --set learning_rate=fast", "`learning_rate`", 2),
            ("run ~ --out out --set learning_rate=-1", "`learning_rate` is -1", 2),
            ("run ~ --out out --set num_server_rounds=0", "`num_server_rounds` is 0", 2),
            ("run ~ --out out --set checkpoint_every=0", "`checkpoint_every` is 0", 2),
            ("run ~ --out out --set cohort_size=0", "`cohort_size` is 0", 2),
            ("run ~ --out out --set cohort_size=9", "at most `dataset.num_clients`", 2),
            (
                "run ~ --out out --set dataset.partitioner.alpha=0",
                "`dataset.partitioner.alpha` is 0",
                2,
            ),
            (
                "run ~ --out out --set dataset.partitioner.alpha=-1",
                "`dataset.partitioner.alpha` is -1",
                2,
            ),
            ("run ~ --out out --set dataset.partitioner=random", "unknown variant", 2),
            ("run ~ --out out --set dataset.train_share=0", "`dataset.train_share`", 2),
            ("run ~ --out out --set dataset.num_clients=500", "cannot share 320 examples", 2),
            ("run ~ --out out --set dataset.max_length=2", "special tokens", 2),
            ("run ~ --out out --set method=fedavgg", "did you mean `fedavg`?", 2),
            ("run ~ --out out --set method.estimator.k=0", "`k` is 0", 2),
            ("run ~ --out out --set method.estimator=forward-gradiant", "`forward-gradient`?", 2),
            ("run ~ --out out --set method.batch_size=0", "`batch_size` is 0", 2),
            ("run ~ --out out --set method.server=momentum", "unknown variant `momentum`", 2),
            (
                "run ~ --out out --set method.exchange=per-iteration --set method.server=plain",
                "`server` is plain",
                2,
            ),
            (
                "run ~ --out out --set method.estimator.perturbation=orthonormal --set method.estimator.k=100000",
                "100000",
                2,
            ),
            ("run ~ --out out --set peft.r=0", "`r` is 0", 2),
            ("run ~ --out out --set peft.target_modules=[\"qerry\"]", "target module `qerry`", 2),
            (
                "run ~ --out out --set peft.modules_to_save=[\"poler\"]",
                "`modules_to_save` is `poler`",
                2,
            ),
            ("run ~ --out out --set dataset.splits=[]", "`dataset.splits` is empty", 2),
            ("run ~ --out out --set dataset.labels=a,b,a", "with `a` twice", 2),
            ("run ~ --out out --set dataset.partitioner=natural", "needs `dataset.key_column`", 2),
            (
                "run ~ --out out --set dataset.question_answering.doc_stride=9",
                "`task` = question-answering",
                2,
            ),
            ("run ~ --out out --set dataset.task=regression", "unknown variant `regression`", 2),
            (
                "run ~ --out out --set dataset.task=question-answering",
                "`dataset.pair_columns` is empty",
                2,
            ),
            (
                "run --preset squad_v2-spry --set dataset.source=synthetic --set model=tiny-bert \
                 --set dataset.question_answering.doc_stride=60 --out out",
                "`doc_stride` is 60, but must be below 45",
                2,
            ),
            (
                "run --preset squad_v2-spry --set dataset.question_answering.decode.n_best_size=0 \
                 --out out",
                "`dataset.question_answering.decode.n_best_size` is 0",
                2,
            ),
            (
                "run --preset ag_news-spry --set dataset.source=synthetic --set model=tiny-bert \
                 --set dataset.labels=a,b,c,d,e,f,g,h,i,j,k --out out",
                "at most 10 for a generated stand-in",
                2,
            ),
            ("run ~ --out out --set peft=qlora", "unknown variant `qlora`", 2),
            ("run ~ --out out --set experiment=../../x", "`experiment`", 2),
            ("run ~ --set experiment=", "`experiment`", 2),
            ("run ~ --out out --set model.name_or_path=no-such/model", "offline mode is on", 2),
            ("run ~ --out out --set model.name_or_path=../no/such/model", "neither a local", 2),
            ("run ~ --out out --set dataset=fancyzhx/ag_news", "offline mode is on", 2),
            ("sweep ~ --grid k --out out", "key=value,value", 2),
            ("sweep ~ --grid method.estimator.k=1,x --out out", "k=x: `method.estimator.k`", 2),
            ("sweep ~ --grid method.estimator.k=1,1 --out out", "twice", 2),
            ("sweep ~ --grid seed=1,2 --out out", "use --seeds", 2),
            ("sweep ~ --seeds 1,2,1 --out out", "--seeds has 1 twice", 2),
            ("sweep", "there is nothing to run", 2),
            ("import adapter", "there is nothing to run", 2),
            ("import adapter ~ --set peft.r=4", "comes from the adapter", 2),
            (
                "run ~ --out out --set seed=18446744073709551615",
                "`seed` is 18446744073709551615",
                2,
            ),
            ("run ~ --out out --set peft.r=1000000000000000000", "`r` is 1000000000000000000", 2),
            (
                "run ~ --out out --set peft=ia3 --set peft.feedforward_modules=[\"dense\"]",
                "`feedforward_modules`",
                2,
            ),
            ("run ~ --out out --set experiment=.", "`experiment` is `.`", 2),
            ("sweep ~ --seeds one --out out", "invalid value 'one'", 2),
            ("partition --dataset synthetic_news --alpha 0", "`alpha` is 0", 2),
            ("partition --dataset synthetic_news --clients 0", "`clients` is 0", 2),
            ("partition --dataset synthetic_news --clients 5000", "5000 clients", 2),
            ("profile --estimator inference", "nothing to profile", 2),
            ("profile --estimator inference --random-weights no.json", "no.json", 2),
            ("verify no-such-case", "1 of 1 cases failed", 2),
            ("compare no-such-run", "does not exist, so it is no run's folder", 2),
            ("resume no-such-run", "does not exist, so it is no run's folder", 2),
            ("export no-such-run out", "is no run's folder", 2),
            ("import no-such-adapter ~ --out out", "adapter_config.json", 2),
        ],
    );
}

#[test]
fn configuration_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("torn.toml", "seed = 1\n[model\n");
    file("unknown.toml", "num_rounds = 3\n");
    file("type.toml", "seed = 1\n[method.estimator]\nk = \"four\"\n");
    file("nested.toml", "[peft]\nname = \"ia3\"\nr = 4\n");
    file("table.toml", "dataset = 3\n");
    file("latin.toml", "");
    file("nan.toml", "[method]\nmax_gradient_variance = nan\n");
    fs::write(folder.path().join("latin.toml"), b"experiment = \"caf\xe9\"\n").unwrap();
    check(
        folder.path(),
        &[
            ("run missing.toml --out out", "missing.toml: No such file", 2),
            ("run . --out out", ". is not a regular file", 2),
            ("run torn.toml --out out", "torn.toml: line 2", 2),
            ("run unknown.toml --out out", "did you mean `num_server_rounds`?", 2),
            ("run type.toml --out out", "type.toml: `method.estimator.k`", 2),
            ("run nested.toml --out out", "there is no option `peft.r`", 2),
            ("run table.toml --out out", "`dataset`", 2),
            ("run nan.toml --out out", "`method.max_gradient_variance` is not a finite number", 2),
            ("run latin.toml --out out", "latin.toml: byte 17 is not UTF-8", 2),
        ],
    );
}

#[test]
fn datasets() {
    let folder = tempfile::tempdir().unwrap();
    let good = TEXT_AND_LABEL;
    let data = |name: &str, schema: &str, texts: &[&str], labels: &[f64]| {
        write_parquet(&folder.path().join(name).join("train.parquet"), schema, texts, labels);
    };
    data("empty", good, &[], &[]);
    data("few", good, &["one", "two", "three"], &[0.0, 1.0, 0.0]);
    data("negative", good, &["one", "two"], &[0.0, -1.0]);
    data("range/ag_news", good, &["one", "two"], &[0.0, 4.0]);
    let no_label = "message m { required binary text (UTF8); required int64 topic; }";
    data("column", no_label, &["one"], &[0.0]);
    let fractions = "message m { required binary text (UTF8); required double label; }";
    data("fractions", fractions, &["one"], &[0.5]);
    let numbers = "message m { required int64 text; required int64 label; }";
    data("numbers", numbers, &["one"], &[0.0]);
    let words = [("text", &["one", "two"][..]), ("label", &["good", "so-so"][..])];
    write_texts(&folder.path().join("words/train.parquet"), &words);
    let torn = folder.path().join("torn/train.parquet");
    data("torn", good, &["one", "two"], &[0.0, 1.0]);
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() - 20]).unwrap();
    fs::create_dir(folder.path().join("no-files")).unwrap();
    check(
        folder.path(),
        &[
            ("run ~ --out out --set dataset=empty", "empty/train.parquet has no examples", 2),
            ("run ~ --out out --set dataset=few", "cannot share 3 examples", 2),
            ("run ~ --out out --set dataset=negative", "row 1, column `label`", 2),
            ("run ~ --out out --set dataset=range/ag_news", "the label is 4", 2),
            ("run ~ --out out --set dataset=column", "has no column `label`", 2),
            ("run ~ --out out --set dataset=fractions", "expected a whole number", 2),
            ("run ~ --out out --set dataset=numbers", "expected a text", 2),
            ("run ~ --out out --set dataset=torn", "not a readable Parquet file", 2),
            ("run ~ --out out --set dataset=no-files", "no Parquet file for split `train`", 2),
            ("partition --dataset column", "has no column `label`", 2),
            (
                "run ~ --out out --set dataset=few --set dataset.text_columns=body",
                "has no column `body`; its columns are text, label",
                2,
            ),
            (
                "run ~ --out out --set dataset=few --set dataset.pair_columns=other",
                "has no column `other`",
                2,
            ),
            ("run ~ --out out --set dataset=words", "name the classes in `labels`", 2),
            (
                "run ~ --out out --set dataset=words --set dataset.labels=good,bad",
                "row 1, column `label`: the label is `so-so`, but must be one of good, bad",
                2,
            ),
        ],
    );
}

/// A copy of the bundled model in `folder/name`.
fn copy_of_model(folder: &Path, name: &str) {
    fs::create_dir(folder.join(name)).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(tiny_bert().join(file), folder.join(name).join(file)).unwrap();
    }
}

#[test]
fn models() {
    let folder = tempfile::tempdir().unwrap();
    let model = |name: &str, file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        copy_of_model(folder.path(), name);
        let path = folder.path().join(name).join(file);
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    };
    let weights = "model.safetensors";
    model("truncated", weights, &|bytes| bytes[..bytes.len() / 2].to_vec());
    model("no-safetensors", weights, &|_| b"PK\x03\x04 something else".to_vec());
    model("integers", weights, &|bytes| {
        let views = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let change = |(name, view): (String, safetensors::tensor::TensorView)| {
            let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
            (name, shape, bytes)
        };
        let all: Vec<_> = views.tensors().into_iter().map(change).collect();
        let view = |(name, shape, bytes): &(String, Vec<usize>, Vec<u8>)| {
            let dtype = safetensors::Dtype::I32;
            let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), leak(bytes));
            (name.clone(), view.unwrap())
        };
        let views: HashMap<String, _> = all.iter().map(view).collect();
        safetensors::serialize(views, None).unwrap()
    });
    let replaced = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(from, to).into_bytes()
    };
    model("other-type", "config.json", &replaced("\"bert\"", "\"mamba\""));
    model(
        "misshapen",
        "config.json",
        &replaced("\"intermediate_size\": ", "\"intermediate_size\": 1"),
    );
    model("no-json", "config.json", &|_| b"{".to_vec());
    model("no-tokenizer", "tokenizer.json", &|_| b"[]".to_vec());
    model("no-pooler", weights, &|bytes| {
        let views = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors = views.tensors();
        tensors.retain(|(name, _)| !name.contains("pooler"));
        safetensors::serialize(tensors, None).unwrap()
    });
    copy_of_model(folder.path(), "missing");
    fs::remove_file(folder.path().join("missing/model.safetensors")).unwrap();
    check(
        folder.path(),
        &[
            ("run ~ --out out --set model.name_or_path=truncated", "safetensors file", 2),
            ("run ~ --out out --set model.name_or_path=no-safetensors", "safetensors file", 2),
            ("run ~ --out out --set model.name_or_path=integers", "has dtype I32", 2),
            ("run ~ --out out --set model.name_or_path=other-type", "`model_type` = mamba", 2),
            ("run ~ --out out --set model.name_or_path=misshapen", "has shape", 2),
            ("run ~ --out out --set model.name_or_path=no-json", "config.json", 2),
            ("run ~ --out out --set model.name_or_path=no-tokenizer", "tokenizer.json", 2),
            ("run ~ --out out --set model.name_or_path=missing", "model.safetensors", 2),
            (
                "run ~ --out out --set model.name_or_path=no-pooler --set peft.target_modules=[\"dense\"]",
                "names `bert.pooler.dense`, which the checkpoint lacks",
                2,
            ),
            ("profile --model truncated --estimator inference", "safetensors file", 2),
            ("profile --model missing --estimator spsa", "model.safetensors", 2),
        ],
    );
    let tiny = folder.path().join("no-tokenizer");
    let profile = |rest: &str| format!("profile --model {} {rest}", tiny.display());
    for (rest, expected) in [
        ("--estimator backprob", "did you mean `backprop`?"),
        ("--estimator spsa --trains group:99", "group:0 to group:3"),
        ("--estimator spsa --trains tail", "all, head, or group:0"),
        ("--estimator forward-gradient -k 0", "`k` is 0"),
        ("--estimator inference --batch 0", "`batch` is 0"),
        ("--estimator inference --batch 1000000000000", "`batch` is 1000000000000"),
        ("--estimator inference --threads 100000000", "`--threads` is 100000000"),
        ("--estimator inference --seq 100000", "100000"),
        ("--estimator inference --iterations 0", "`--iterations` is 0"),
    ] {
        check(folder.path(), &[(&profile(rest), expected, 2)]);
    }
}

/// Bytes for as long as the test lives: what a view borrows must outlive the list of views.
fn leak(bytes: &[u8]) -> &'static [u8] {
    Box::leak(bytes.to_vec().into_boxed_slice())
}

#[test]
fn runs_adapters_and_cases() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path(), "run");
    fs::create_dir(folder.path().join("full")).unwrap();
    fs::write(folder.path().join("full/notes.txt"), "mine").unwrap();
    fs::write(folder.path().join("file"), "mine").unwrap();

    let copy = |name: &str| {
        let to = folder.path().join(name);
        fs::create_dir_all(to.join("checkpoints")).unwrap();
        fs::create_dir_all(to.join("adapter")).unwrap();
        fs::create_dir_all(to.join("rows")).unwrap();
        let mut files = vec!["config.toml".to_string(), "summary.json".to_string()];
        for sub in ["checkpoints", "adapter", "rows"] {
            for entry in fs::read_dir(run.join(sub)).unwrap() {
                let name = entry.unwrap().file_name();
                files.push(format!("{sub}/{}", name.to_string_lossy()));
            }
        }
        for file in &files {
            fs::copy(run.join(file), to.join(file)).unwrap();
        }
        to
    };
    let corrupted = copy("corrupted");
    for entry in fs::read_dir(corrupted.join("checkpoints")).unwrap() {
        fs::write(entry.unwrap().path(), b"SPRYCK01 and nothing more").unwrap();
    }
    let configured = copy("configured");
    fs::write(configured.join("config.toml"), "sede = 3\n").unwrap();
    let young = copy("young");
    fs::remove_file(young.join("summary.json")).unwrap();
    fs::remove_dir_all(young.join("adapter")).unwrap();
    let torn = copy("torn");
    fs::write(torn.join("summary.json"), "{\"method\":").unwrap();
    fs::write(copy("rows").join("rows/rounds.rows"), "SPRYRW01").unwrap();
    let lora = copy("lora").join("adapter");
    let config = fs::read_to_string(lora.join("adapter_config.json")).unwrap();
    fs::write(lora.join("adapter_config.json"), config.replace("\"r\": 1", "\"r\": 2")).unwrap();
    let edited = copy("edited").join("config.toml");
    let text = fs::read_to_string(&edited).unwrap();
    fs::write(&edited, text.replace("cohort_size = 3", "cohort_size = 4")).unwrap();
    let pissa = copy("pissa").join("adapter");
    let text = config.replace("\"r\": 1", "\"r\": 1, \"init_lora_weights\": \"pissa\"");
    fs::write(pissa.join("adapter_config.json"), text).unwrap();
    let dora = copy("dora").join("adapter");
    fs::write(dora.join("adapter_config.json"), config.replace("dora\": false", "dora\": true"))
        .unwrap();

    let broken = folder.path().join("case");
    fs::create_dir(&broken).unwrap();
    for entry in fs::read_dir(case("bert-lora")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, broken.join(path.file_name().unwrap())).unwrap();
    }
    let json = fs::read_to_string(broken.join("case.json")).unwrap();
    fs::write(broken.join("case.json"), json.replacen("\"loss\": 1", "\"loss\": 2", 1)).unwrap();
    check(
        folder.path(),
        &[
            ("run ~ --out run", "already has a run; go on with `spry resume run`", 2),
            ("run ~ --out full", "is not empty", 2),
            ("run ~ --out file", "file: Not a directory", 2),
            ("run ~ --out file/below", "Not a directory", 2),
            ("run ~ --out /proc/spry", "/proc/spry", 2),
            ("resume full", "has no config.toml, so it is no run's folder", 2),
            ("resume corrupted", "is damaged", 2),
            ("resume configured", "did you mean `seed`?", 2),
            ("resume edited", "config.toml: `cohort_size` is not what it was", 2),
            (
                "run ~ --out out --set model.adapter=run/adapter --set peft.lora_alpha=2",
                "`peft` is not that of the adapter",
                2,
            ),
            ("import pissa/adapter ~ --out out", "`init_lora_weights` = \"pissa\"", 2),
            ("compare young", "has no results yet", 2),
            ("compare torn", "summary.json is damaged", 2),
            ("compare rows", "rounds.rows is damaged", 2),
            ("export young exported", "has nothing to export yet", 2),
            ("export run full", "is not empty", 2),
            ("import lora/adapter ~ --out out", "has shape [1,", 2),
            ("import dora/adapter ~ --out out", "`use_dora` = true is not supported", 2),
            ("import full ~ --out out", "adapter_config.json", 2),
            ("partition --dataset synthetic_news --plot file/p.svg", "file/p.svg", 2),
            ("verify case", "1 of 1 cases failed with tolerance 1e-4", 1),
            ("verify full", "there is no reference case in full", 2),
            ("verify case --tolerance -1", "unexpected argument '-1'", 2),
            ("verify case --tolerance=nan", "`--tolerance` is NaN", 2),
        ],
    );
    assert_eq!(fs::read_to_string(folder.path().join("full/notes.txt")).unwrap(), "mine");
}
