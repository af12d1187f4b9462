//! Peak memory of a client's step, counted, not timed: it is the same on every machine.

use std::sync::Arc;

use spry_bench::{MINILM, OneBatch, Workbench, peak_bytes};
use spry_core::estimators::{
    Backprop, ByRole, FiniteDifference, ForwardGradient, GradientEstimator, Guided, Spsa, Step,
};
use spry_core::{ClientContext, ClientInfo, Seed, StopSignal, Strategy};

#[test]
fn a_spry_step_needs_at_most_a_twelfth_of_a_backprop_step() {
    let bench = Workbench::new(MINILM, None).unwrap();
    let backprop = bench.peak_bytes(&Backprop {}, &bench.all());
    let inference = bench.inference_peak_bytes();
    let parts = bench.spry_parts();
    assert_eq!(parts.len(), 12, "two LoRA pairs in each of six layers");
    let estimator = ForwardGradient::default();
    let spry = parts.iter().map(|part| bench.peak_bytes(&estimator, part)).max().unwrap();
    println!(
        "MiniLM shape, batch 8, length 64, peak above the weights: inference {:.1} MiB, Spry step \
         {:.1} MiB (largest over its 12 groups), backprop step {:.1} MiB; Spry / backprop = {:.3}",
        mebibytes(inference),
        mebibytes(spry),
        mebibytes(backprop),
        spry as f64 / backprop as f64
    );
    assert!(spry * 12 <= backprop, "{spry} against {backprop} bytes");
    assert!(spry * 10 <= inference * 18, "{spry} against {inference} bytes");
}

/// FedMeZO: two inferences and a seed. What it may need beyond inference are one trained tensor at
/// a time, moved, and its part of the direction.
#[test]
fn spsa_needs_the_memory_of_inference() {
    let bench = Workbench::new(MINILM, None).unwrap();
    let inference = bench.inference_peak_bytes();
    let spsa = bench.peak_bytes(&Spsa::default(), &bench.all());
    println!(
        "peak above the weights: inference {:.2} MiB, SPSA step over all {} trained values {:.2} \
         MiB; SPSA / inference = {:.4}",
        mebibytes(inference),
        bench.params.num_elements(),
        mebibytes(spsa),
        spsa as f64 / inference as f64
    );
    // A copy of the trained values alone would be this much.
    let copy = 4 * bench.params.num_elements() as u64;
    assert!(spsa < inference + copy, "{spsa} against {inference} + {copy} bytes");
    assert!(spsa * 100 <= inference * 101, "{spsa} against {inference} bytes");
}

/// The whole work of a client, with its optimizer and the weights that it received: three epochs
/// of FedMeZO against evaluating the loss once.
#[test]
fn a_fedmezo_client_needs_the_memory_of_inference() {
    let bench = Workbench::new(MINILM, None).unwrap();
    let work = |name| {
        let method = spry_strategies::find(name).unwrap();
        let state = method.init(bench.params.clone());
        let info = ClientInfo { client: 0, num_examples: 1 };
        let task = method.configure_round(&state, &[info], &Seed::new(0)).unwrap().remove(0);
        peak_bytes(|| {
            let data = OneBatch(&bench);
            let mut context = ClientContext::new(0, &data, StopSignal::default());
            drop(method.local_update(&task, &mut context).unwrap());
        })
    };
    let (inference, fedmezo, fedavg) =
        (bench.inference_peak_bytes(), work("fedmezo"), work("fedavg"));
    println!(
        "peak of a client above the model and what it received: inference {:.2} MiB, FedMeZO \
         {:.2} MiB, FedAvg {:.2} MiB; FedMeZO / inference = {:.4}",
        mebibytes(inference),
        mebibytes(fedmezo),
        mebibytes(fedavg),
        fedmezo as f64 / inference as f64
    );
    // The new weights beside the received ones, and the gradient's.
    let copy = 4 * bench.params.num_elements() as u64;
    assert!(fedmezo < inference + 3 * copy, "{fedmezo} against {inference} + 3 x {copy} bytes");
    assert!(fedmezo * 10 < fedavg);
}

/// FwdLLM+: candidates are replayed one at a time, so the best one and the guide are all that is
/// held beside inference.
#[test]
fn a_guided_difference_needs_little_more_than_inference() {
    let bench = Workbench::new(MINILM, None).unwrap();
    let (all, seed) = (bench.all(), Seed::new(1));
    let guide = bench.step(&Spsa::default(), &all);
    let step = Step { previous_change: Some(&guide), ..Step::new(&bench.params, &all, &seed) };
    let guided = Guided::default();
    let peak = peak_bytes(|| drop(guided.estimate(&bench.objective, &step).unwrap()));
    let inference = bench.inference_peak_bytes();
    println!(
        "peak above the weights: inference {:.2} MiB, guided difference {:.2} MiB",
        mebibytes(inference),
        mebibytes(peak)
    );
    let copy = 4 * bench.params.num_elements() as u64;
    assert!(peak < inference + 3 * copy, "{peak} against {inference} + 3 x {copy} bytes");
}

/// The head's reverse mode works on pooled features: its graph never reaches the encoder.
#[test]
fn a_head_by_backpropagation_does_not_move_the_peak() {
    let bench = Workbench::new(MINILM, None).unwrap();
    for adapters in [
        Arc::new(ForwardGradient::default()) as Arc<dyn GradientEstimator>,
        Arc::new(FiniteDifference { k: 2, ..Default::default() }),
    ] {
        let by_role = ByRole { adapters: adapters.clone(), head: Arc::new(Backprop {}) };
        let alone = bench.peak_bytes(&*adapters, &bench.all());
        let composed = bench.peak_bytes(&by_role, &bench.all());
        println!(
            "{adapters:?}: peak above the weights {:.2} MiB, with the head by backpropagation \
             {:.2} MiB; ratio {:.4}",
            mebibytes(alone),
            mebibytes(composed),
            composed as f64 / alone as f64
        );
        assert!(composed * 100 <= alone * 101, "{composed} against {alone} bytes");
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
