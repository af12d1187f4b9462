//! Configurations: presets, layers, and what is written is what is read.

use serde_json::json;
use spry_core::estimators::EstimatorConfig;
use spry_core::optim::{LocalOptimizerConfig, ServerOptimizer};
use spry_data::Partitioner;
use spry_models::Peft;
use spry_runner::{RunConfig, presets};
use spry_strategies::{Exchange, METHODS};

#[test]
fn every_preset_is_valid_and_survives_its_file() {
    let all = presets::all();
    assert_eq!(all.len(), 1 + spry_data::spec::ALL.len() * METHODS.len());
    for preset in all {
        let config = preset.config().unwrap();
        config.validate().unwrap();
        let text = config.to_toml().unwrap();
        // Over the defaults, and over anything else: the file says everything.
        let other = presets::find("sst2-fwdllm+").unwrap().config().unwrap();
        for base in [RunConfig::default(), other] {
            assert_eq!(base.with_toml(&text).unwrap(), config, "{}: {text}", preset.name);
        }
    }
}

#[test]
fn presets_are_the_papers() {
    for spec in spry_data::spec::ALL {
        for method in METHODS {
            let name = format!("{}-{}", spec.name, method.name);
            let config = presets::find(&name).unwrap().config().unwrap();
            assert_eq!((config.num_server_rounds, config.cohort_size), (1500, 10), "{name}");
            assert_eq!(config.dataset.num_clients, spec.clients, "{name}");
            assert_eq!(config.dataset.max_length, spec.max_length, "{name}");
            let expected = match spec.name {
                "squad_v2" => Partitioner::Natural,
                _ => Partitioner::DirichletPaper { alpha: 1.0 },
            };
            assert_eq!(config.dataset.partitioner, expected, "{name}");
            assert_eq!(config.dataset.layout, spec.layout(), "{name}");
            assert_eq!(config.method, (method.method)(), "{name}");
            assert_eq!(config.method.batch_size, 8, "{name}");
            let peft = json!(config.peft);
            assert_eq!((&peft["r"], &peft["lora_alpha"]), (&json!(1), &json!(1.0)), "{name}");
        }
    }
    assert_eq!(spry_data::DatasetSpec::find("ag_news").unwrap().clients, 1000);
    assert_eq!(spry_data::DatasetSpec::find("sst2").unwrap().clients, 100);
}

#[test]
fn a_layer_changes_what_it_names_and_nothing_else() {
    let base = RunConfig::default();
    let text = "seed = 7\n[dataset]\nnum_clients = 50\n[method.estimator]\nk = 4\n";
    let changed = base.with_toml(text).unwrap();
    let mut expected = base.clone();
    (expected.seed, expected.dataset.num_clients) = (7, 50);
    expected.method = expected.method.with_options(&json!({"estimator": {"k": 4}})).unwrap();
    assert_eq!(changed, expected);
    assert_eq!(base.with_toml("").unwrap(), base);
    // The order of layers: what comes later counts.
    let later = changed.with_assignments(&["seed=8"]).unwrap();
    assert_eq!((later.seed, later.dataset.num_clients), (8, 50));
}

#[test]
fn naming_another_kind_brings_its_defaults() {
    let base = RunConfig::default();
    let with = |assignments: &[&str]| base.with_assignments(assignments).unwrap();
    // A method by its name alone, with options of its own.
    let fwdllm = with(&["method=fwdllm+", "method.estimator.candidates=4"]);
    assert_eq!(fwdllm.method.max_gradient_variance, Some(100.0));
    let EstimatorConfig::Guided(guided) = fwdllm.method.estimator else { panic!("{fwdllm:?}") };
    assert_eq!((guided.candidates, guided.sigma), (4, 1e-2));
    // A dataset with the paper's clients, unless they are given.
    let sst2 = with(&["dataset=sst2"]).dataset;
    assert_eq!((sst2.num_clients, sst2.max_length), (100, 64));
    assert_eq!(with(&["dataset=sst2", "dataset.num_clients=5"]).dataset.num_clients, 5);
    // Kinds inside of kinds.
    let sgd = with(&["method.exchange.optimizer=sgd", "method.exchange.optimizer.momentum=0.9"]);
    let Exchange::PerEpoch(local) = sgd.method.exchange else { panic!() };
    let LocalOptimizerConfig::Sgd(sgd) = local.optimizer else { panic!() };
    assert_eq!((sgd.momentum, sgd.learning_rate), (0.9, 1e-3));
    assert_eq!(with(&["dataset.partitioner=iid"]).dataset.partitioner, Partitioner::Iid);
    assert!(
        base.with_assignments(&["dataset.partitioner=iid", "dataset.partitioner.alpha=2"]).is_err()
    );
    assert_eq!(with(&["model=my-model"]).model.name_or_path, "my-model");
    let model = with(&["model=my-model", "model.dropout=true"]).model;
    assert_eq!((model.name_or_path.as_str(), model.dropout), ("my-model", true));
    let Peft::Lora(lora) = with(&["peft.target_modules=query, key"]).peft else { panic!() };
    assert_eq!(lora.target_modules, ["query", "key"]);
    let bitfit = with(&["peft=bitfit"]);
    assert_eq!(bitfit.peft, Peft::BitFit);
}

#[test]
fn the_learning_rate_goes_where_the_steps_are() {
    let base = RunConfig::default();
    let spry = base.with_assignments(&["learning_rate=0.5"]).unwrap();
    let Exchange::PerEpoch(local) = &spry.method.exchange else { panic!() };
    let LocalOptimizerConfig::AdamW(adamw) = &local.optimizer else { panic!() };
    assert_eq!(adamw.learning_rate, 0.5);
    let fedsgd = base.with_assignments(&["method=fedsgd", "learning_rate=0.5"]).unwrap();
    let ServerOptimizer::Adaptive(adam) = &fedsgd.method.server else { panic!() };
    assert_eq!(adam.learning_rate, 0.5);
    // It is a way to write the method's option, not an option of its own.
    assert!(!spry.to_toml().unwrap().starts_with("learning_rate"));
}

#[test]
fn options_without_a_value_are_written_none() {
    let config = RunConfig::default().with_assignments(&["method=fwdllm+"]).unwrap();
    let off = config.with_assignments(&["method.max_gradient_variance=none"]).unwrap();
    assert_eq!(off.method.max_gradient_variance, None);
    let text = off.to_toml().unwrap();
    assert!(text.contains("max_gradient_variance = \"none\""), "{text}");
    assert_eq!(config.with_toml(&text).unwrap(), off);
}

#[test]
fn a_hub_id_that_nothing_is_known_of_is_kept() {
    let config = RunConfig::default().with_assignments(&["dataset=some-org/my-data"]).unwrap();
    let config = config.with_absolute_paths().unwrap();
    assert_eq!(
        (config.dataset.name.as_str(), config.dataset.location()),
        ("my-data", "some-org/my-data")
    );
    let known = RunConfig::default().with_absolute_paths().unwrap();
    assert_eq!(
        (known.dataset.source.clone(), known.dataset.location()),
        (None, "fancyzhx/ag_news")
    );
}

#[test]
fn local_directories_become_absolute_and_keep_what_is_known_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("copies/ag_news");
    std::fs::create_dir_all(&data).unwrap();
    let option = format!("dataset.name={}", data.display());
    let config = RunConfig::default().with_assignments(&[option.as_str()]).unwrap();
    let config = config.with_absolute_paths().unwrap();
    assert_eq!(config.dataset.name, "ag_news");
    assert_eq!(config.dataset.location(), std::fs::canonicalize(&data).unwrap().to_str().unwrap());
    assert_eq!(config.dataset.layout.labels.len(), 4);
    let read = RunConfig::default().with_toml(&config.to_toml().unwrap()).unwrap();
    assert_eq!(read, config);
}
