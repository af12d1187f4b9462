//! A model of BERT large's shape in the memory of its weights and little more.

use spry_bench::{BERT_LARGE_8, Shape, Workbench, peak_bytes};
use spry_core::estimators::ForwardGradient;
use spry_models::{LoadOptions, Model};

/// With the paper's length.
const BERT_LARGE: Shape = Shape { seq: 128, ..BERT_LARGE_8 };

/// All that is allocated counts here: in loading, for the weights, and in a client's step.
#[test]
fn loading_and_a_spry_step_peak_within_one_and_a_half_times_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), BERT_LARGE.config).unwrap();
    let options = LoadOptions { num_labels: Some(4), ..Default::default() };
    let random = Model::random(BERT_LARGE.config, &options).unwrap();
    let weights = random.weight_bytes();
    // Written one tensor after the other, too.
    let writing = peak_bytes(|| random.save(folder.path(), &Default::default()).unwrap());
    drop(random);

    let loading = peak_bytes(|| drop(Model::load(folder.path(), &options).unwrap()));
    let both = peak_bytes(|| {
        let bench = Workbench::new(BERT_LARGE, Some(folder.path())).unwrap();
        let middle = &bench.spry_parts()[24];
        drop(bench.step(&ForwardGradient::default(), middle));
    });
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let times = |bytes: u64| bytes as f64 / weights as f64;
    println!(
        "BERT large, {:.0} MiB of weights in f32: peak of loading {:.0} MiB ({:.3} times the \
         weights), of loading and a Spry step (batch 8, length 128, group 24 of 48) {:.0} MiB \
         ({:.3} times); of writing above the weights {:.0} MiB",
        mebibytes(weights),
        mebibytes(loading),
        times(loading),
        mebibytes(both),
        times(both),
        mebibytes(writing),
    );
    assert!(both * 2 <= weights * 3, "{both} bytes for {weights} bytes of weights");
    // The weights and one tensor more: the largest is the table of words.
    let largest = 4 * 30522 * 1024;
    assert!(loading <= weights + largest + largest / 10, "{loading} bytes");
    assert!(writing <= 3 * largest, "{writing} bytes");
}
