//! Every preset runs offline: generated examples in the place of the dataset, the bundled model in
//! the place of the paper's.

use spry_data::Hub;
use spry_runner::run::Run;
use spry_runner::{RunConfig, presets};

/// What makes a preset small enough to try.
const SMALL: [&str; 9] = [
    "dataset.source=synthetic",
    "dataset.max_examples=40",
    "dataset.num_clients=5",
    "dataset.max_length=48",
    "model=tiny-bert",
    "cohort_size=2",
    "num_server_rounds=1",
    "evaluate_every=1",
    "jobs=1",
];

fn small(config: RunConfig) -> RunConfig {
    config.with_assignments(&SMALL).unwrap()
}

#[test]
fn every_preset_runs_on_stand_ins() {
    let hub = Hub::from_variables(|_| None).with_offline(true);
    for preset in presets::all().iter().filter(|preset| preset.name != "smoke") {
        let folder = tempfile::tempdir().unwrap();
        let config = small(preset.config().unwrap());
        let mut run = Run::create(config, &folder.path().join("run"), &hub).unwrap();
        let summary = run.execute(|_| {}).unwrap();
        assert_eq!(summary.rounds, 1, "{}", preset.name);
        assert_eq!(summary.failed_updates, 0, "{}", preset.name);
        let accuracy = summary.generalized_accuracy.unwrap();
        assert!((0.0..=1.0).contains(&accuracy), "{}: {accuracy}", preset.name);
        let is_question_answering = preset.name.starts_with("squad");
        assert_eq!(summary.generalized_f1.is_some(), is_question_answering, "{}", preset.name);
    }
}
