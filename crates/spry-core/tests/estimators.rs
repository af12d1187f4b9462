//! Estimators on closed-form objectives, in f64: mean, variance, order of convergence, and that
//! they leave the weights alone.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use spry_core::estimators::{
    Backprop, ByRole, FiniteDifference, ForwardGradient, GradientEstimator, Guided, Scheme, Spsa,
    Step,
};
use spry_core::perturbation::{Directions, Perturbation};
use spry_core::spry_dual::Dual;
use spry_core::{
    DualParams, Evaluation, Gradient, GroupId, Objective, Param, ParamRole, ParamSet, Result, Seed,
};

/// `f(w) = Σ exp(aᵢ wᵢ) + (Σ wᵢ)²/2`: smooth, coupled, and not a polynomial.
struct Smooth;

const WEIGHTS: [(&str, ParamRole, &[f64]); 3] = [
    ("a.weight", ParamRole::Adapter, &[0.3, -0.2, 0.5]),
    ("b.weight", ParamRole::Adapter, &[-0.4, 0.1]),
    ("head.weight", ParamRole::Head, &[0.2, 0.7, -0.6]),
];

/// Number of weights.
const D: usize = 8;

fn params() -> ParamSet {
    let param = |(group, (path, role, values)): (usize, &(&str, ParamRole, &[f64]))| {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        let tensor = Tensor::<1>::from_data(data, (&Device::default(), DType::F64));
        (path.to_string(), Param::new(tensor, *role, GroupId(group as u32)))
    };
    WEIGHTS.iter().enumerate().map(param).collect()
}

fn all() -> Vec<String> {
    WEIGHTS.iter().map(|(path, ..)| path.to_string()).collect()
}

impl Objective for Smooth {
    fn forward(&self, params: &DualParams) -> Result<Dual<1>> {
        let weight = |path| params.get::<1>(path).expect("all weights are trainable");
        let (mut sum, mut exponentials): (Option<Dual<1>>, Option<Dual<1>>) = (None, None);
        for (i, (path, ..)) in WEIGHTS.iter().enumerate() {
            let total = weight(path).sum();
            let exponential = weight(path).mul_scalar(1.0 - 0.6 * i as f64).exp().sum();
            sum = Some(sum.map_or(total.clone(), |sum| sum.add(total)));
            exponentials =
                Some(exponentials.map_or(exponential.clone(), |sum| sum.add(exponential)));
        }
        let (sum, exponentials) = (sum.expect("weights"), exponentials.expect("weights"));
        Ok(exponentials.add(sum.square().mul_scalar(0.5)))
    }

    fn evaluate(&self, params: &ParamSet) -> Result<Evaluation> {
        Ok(Evaluation { loss_sum: self.loss(params)?, correct: 0, f1_sum: None, examples: 1 })
    }
}

fn flat(set: &ParamSet) -> Vec<f64> {
    set.iter().flat_map(|(_, param)| param.to_vec()).collect()
}

/// ∇f by hand.
fn true_gradient() -> Vec<f64> {
    let sum: f64 = WEIGHTS.iter().flat_map(|(.., values)| values.iter()).sum();
    WEIGHTS
        .iter()
        .enumerate()
        .flat_map(|(i, (.., values))| {
            let a = 1.0 - 0.6 * i as f64;
            values.iter().map(move |w| a * (a * w).exp() + sum)
        })
        .collect()
}

fn estimate(estimator: &dyn GradientEstimator, seed: u64) -> Vec<f64> {
    let (params, trains, seed) = (params(), all(), Seed::new(seed));
    flat(&estimator.gradient(&Smooth, &Step::new(&params, &trains, &seed)).unwrap().1)
}

fn norm_squared(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// Mean and mean square of a sample, and the standard error of each.
fn statistics(sample: &[f64]) -> (f64, f64) {
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    let variance = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

const SAMPLES: u64 = 4000;

/// With 8 components and 12 estimators, the largest of some hundred deviations; for a normal
/// distribution beyond four standard errors once in 150 such tables.
const STANDARD_ERRORS: f64 = 4.0;

fn estimators() -> Vec<(&'static str, Box<dyn GradientEstimator>, Perturbation, usize)> {
    use Perturbation::{Gaussian, Orthonormal, Rademacher};
    let forward = |k, perturbation| Box::new(ForwardGradient { k, perturbation });
    let difference = |k, scheme, perturbation| {
        // Narrow enough for the bias of the one-sided difference to vanish in the noise.
        Box::new(FiniteDifference { k, sigma: 1e-5, scheme, perturbation })
    };
    vec![
        ("forward gradient, K = 1", forward(1, Gaussian), Gaussian, 1),
        ("forward gradient, K = 4", forward(4, Gaussian), Gaussian, 4),
        ("forward gradient, signs, K = 1", forward(1, Rademacher), Rademacher, 1),
        ("forward gradient, signs, K = 4", forward(4, Rademacher), Rademacher, 4),
        ("forward gradient, orthonormal, K = 1", forward(1, Orthonormal), Orthonormal, 1),
        ("forward gradient, orthonormal, K = 4", forward(4, Orthonormal), Orthonormal, 4),
        ("central difference, K = 2", difference(2, Scheme::Central, Gaussian), Gaussian, 2),
        (
            "central, orthonormal, K = 3",
            difference(3, Scheme::Central, Orthonormal),
            Orthonormal,
            3,
        ),
        ("forward difference, K = 2", difference(2, Scheme::Forward, Gaussian), Gaussian, 2),
        ("spsa", Box::new(Spsa { epsilon: 1e-4, ..Default::default() }), Gaussian, 1),
        ("spsa, signs", Box::new(Spsa { epsilon: 1e-4, perturbation: Rademacher }), Rademacher, 1),
        (
            "guided, without a guide",
            Box::new(Guided { sigma: 1e-4, ..Default::default() }),
            Gaussian,
            1,
        ),
    ]
}

/// `E‖g‖² / ‖∇f‖²` as documented (and derived) at [`Perturbation`].
fn second_moment(perturbation: Perturbation, k: usize) -> f64 {
    let (d, k) = (D as f64, k as f64);
    match perturbation {
        Perturbation::Gaussian => (d + k + 1.0) / k,
        Perturbation::Rademacher => (d + k - 1.0) / k,
        Perturbation::Orthonormal => d / k,
    }
}

#[test]
fn estimates_are_unbiased_and_vary_as_the_formulas_say() {
    let truth = true_gradient();
    for (name, estimator, perturbation, k) in estimators() {
        let sample: Vec<Vec<f64>> = (0..SAMPLES).map(|seed| estimate(&*estimator, seed)).collect();
        let mut worst: f64 = 0.0;
        for (i, expected) in truth.iter().enumerate() {
            let component: Vec<f64> = sample.iter().map(|gradient| gradient[i]).collect();
            let (mean, error) = statistics(&component);
            worst = worst.max((mean - expected).abs() / error);
        }
        let ratios: Vec<f64> =
            sample.iter().map(|g| norm_squared(g) / norm_squared(&truth)).collect();
        let (ratio, error) = statistics(&ratios);
        let expected = second_moment(perturbation, k);
        println!(
            "{name:38} worst {worst:.2} s.e.; second moment {ratio:.3}, formula {expected:.3}"
        );
        assert!(worst < STANDARD_ERRORS, "{name}: a mean is {worst} standard errors off");
        // For one orthonormal direction and signs in one dimension the ratio has little spread.
        let deviation = (ratio - expected).abs() / error.max(1e-12);
        assert!(deviation < STANDARD_ERRORS, "{name}: {ratio} against {expected}");
    }
}

#[test]
fn backprop_is_exact() {
    for (actual, expected) in estimate(&Backprop {}, 0).iter().zip(true_gradient()) {
        assert!((actual - expected).abs() < 1e-12, "{actual} against {expected}");
    }
}

/// As many orthonormal directions as there are weights leave nothing to chance.
#[test]
fn a_full_orthonormal_set_gives_the_gradient_itself() {
    let estimator = ForwardGradient { k: D, perturbation: Perturbation::Orthonormal };
    for (actual, expected) in estimate(&estimator, 3).iter().zip(true_gradient()) {
        assert!((actual - expected).abs() < 1e-12, "{actual} against {expected}");
    }
    let error = ForwardGradient { k: D + 1, ..estimator }
        .gradient(&Smooth, &Step::new(&params(), &all(), &Seed::new(0)))
        .unwrap_err();
    assert!(error.to_string().contains("at most the number of trained values, 8"), "{error}");
}

/// Distance of one estimate from the forward gradient along the same directions, which is its
/// limit for σ → 0.
fn distance_from_limit(sigma: f64, scheme: Scheme) -> f64 {
    let perturbation = Perturbation::Gaussian;
    let difference = FiniteDifference { k: 3, sigma, scheme, perturbation };
    let limit = estimate(&ForwardGradient { k: 3, perturbation }, 5);
    let estimate = estimate(&difference, 5);
    let squares = estimate.iter().zip(&limit).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f64>().sqrt()
}

#[test]
fn finite_differences_converge_at_their_order_until_rounding_takes_over() {
    for (scheme, order, sigmas) in [
        (Scheme::Forward, 1.0, [1e-2, 1e-3, 1e-4, 1e-5]),
        (Scheme::Central, 2.0, [1e-1, 1e-2, 1e-3, 1e-4]),
    ] {
        let errors = sigmas.map(|sigma| distance_from_limit(sigma, scheme));
        println!("{scheme:?}: {errors:?} at {sigmas:?}");
        for pair in errors.windows(2) {
            // Each step divides σ by ten.
            let observed = (pair[0] / pair[1]).log10();
            assert!((observed - order).abs() < 0.1, "{scheme:?}: order {observed}");
        }
        // Far below √ε and ε^⅓, cancellation makes it worse again.
        let best = errors[3];
        let rounding = distance_from_limit(1e-12, scheme);
        assert!(rounding > 10.0 * best, "{scheme:?}: {rounding} is not worse than {best}");
    }
}

#[test]
fn no_estimator_touches_the_weights() {
    let (params, trains) = (params(), all());
    let before: Vec<u64> = flat(&params).into_iter().map(f64::to_bits).collect();
    for (name, estimator, ..) in estimators() {
        for seed in 0..20 {
            let seed = Seed::new(seed);
            estimator.gradient(&Smooth, &Step::new(&params, &trains, &seed)).unwrap();
            let after: Vec<u64> = flat(&params).into_iter().map(f64::to_bits).collect();
            assert_eq!(after, before, "{name}");
        }
    }
}

#[test]
fn spsa_is_the_central_difference_along_one_direction() {
    let spsa = Spsa { epsilon: 1e-3, ..Default::default() };
    let difference = FiniteDifference { k: 1, sigma: 1e-3, ..Default::default() };
    assert_eq!(estimate(&spsa, 7), estimate(&difference, 7));
}

#[test]
fn the_guided_choice_is_the_candidate_most_like_the_guide() {
    let (params, trains) = (params(), all());
    let guided = Guided::default();
    let mut chosen = BTreeMap::new();
    for seed in 0..40 {
        let seed = Seed::new(seed);
        let candidates = Directions::gaussian(guided.candidates).all(&seed, &params).unwrap();
        // A guide that is one of the candidates, at another length.
        let wanted = (flat(&candidates[0])[0].abs() * 1e6) as usize % guided.candidates;
        let guide = candidates[wanted].map(|values| values.mul_scalar(0.01));
        let step = Step { previous_change: Some(&guide), ..Step::new(&params, &trains, &seed) };
        let terms = guided.estimate(&Smooth, &step).unwrap().gradient.terms;
        assert_eq!(terms.len(), 1);
        assert_eq!(terms[0].direction as usize, wanted);
        *chosen.entry(wanted).or_insert(0) += 1;
    }
    assert!(chosen.len() > 5, "the test chose among few candidates: {chosen:?}");
}

#[test]
fn estimators_compose_by_role() {
    let by_role = ByRole {
        adapters: std::sync::Arc::new(ForwardGradient { k: 2, ..Default::default() }),
        head: std::sync::Arc::new(Backprop {}),
    };
    let (params, trains, seed) = (params(), all(), Seed::new(1));
    let step = Step::new(&params, &trains, &seed);
    let composed = by_role.gradient(&Smooth, &step).unwrap().1;
    let head = composed.get("head.weight").unwrap().to_vec();
    for (actual, expected) in head.iter().zip(&true_gradient()[5..]) {
        assert!((actual - expected).abs() < 1e-12, "the head's gradient is exact");
    }
    // The adapters' estimate is the one that they get when the head is not trained at all.
    let adapters = ["a.weight".to_string(), "b.weight".to_string()];
    let alone = by_role.adapters.gradient(&Smooth, &Step { trains: &adapters, ..step }).unwrap().1;
    assert_eq!(flat(&composed.subset(&adapters).unwrap()), flat(&alone));
}

#[test]
fn a_gradient_that_does_not_fit_is_an_error() {
    let (trained, seed) = (params(), Seed::new(0));
    let directions = Some(Directions::gaussian(2));
    let expand = |gradient: Gradient, directions| gradient.expand(directions, &trained, &seed);
    let error = expand(Gradient::mean_along(&[1.0, 2.0, 3.0]), directions).unwrap_err();
    assert!(error.to_string().contains("below the number of directions, 2"), "{error}");
    assert!(expand(Gradient::mean_along(&[1.0]), None).is_err());
    assert!(expand(Gradient::default(), directions).is_err());
    let stranger: ParamSet =
        [("stranger".to_string(), trained.get("a.weight").unwrap().clone())].into_iter().collect();
    assert!(expand(Gradient::explicit(stranger), directions).is_err());
    assert!(Gradient::mean_along(&[f64::NAN]).check_finite().is_err());
    expand(Gradient::mean_along(&[1.0, 2.0]), directions).unwrap();
}

#[test]
fn options_out_of_range_are_errors() {
    let bad: [(&str, Box<dyn GradientEstimator>); 6] = [
        ("`k` is 0", Box::new(ForwardGradient { k: 0, ..Default::default() })),
        ("`k` is 0", Box::new(FiniteDifference { k: 0, ..Default::default() })),
        ("`sigma` is 0", Box::new(FiniteDifference { sigma: 0.0, ..Default::default() })),
        ("`epsilon` is NaN", Box::new(Spsa { epsilon: f64::NAN, ..Default::default() })),
        (
            "`perturbation` is orthonormal",
            Box::new(Spsa { perturbation: Perturbation::Orthonormal, ..Default::default() }),
        ),
        ("`candidates` is 0", Box::new(Guided { candidates: 0, ..Default::default() })),
    ];
    for (expected, estimator) in bad {
        let (params, trains, seed) = (params(), all(), Seed::new(0));
        let error = estimator.estimate(&Smooth, &Step::new(&params, &trains, &seed)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} does not contain {expected}");
    }
}
