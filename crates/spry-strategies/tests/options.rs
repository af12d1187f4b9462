//! Options: the paper's defaults, changes by name, and errors for what does not exist.

use serde_json::json;
use spry_core::estimators::{
    EstimatorConfig, FiniteDifference, ForwardGradient, Guided, HeadEstimator, Scheme, Spsa,
};
use spry_core::optim::{AdaptiveConfig, LocalOptimizerConfig, ServerOptimizer};
use spry_core::perturbation::Perturbation;
use spry_strategies::{Assignment, Exchange, HeadAssignment, METHODS, Method, find};

#[test]
fn defaults_are_the_papers() {
    let gaussian = Perturbation::Gaussian;
    let estimator = |name| find(name).unwrap().estimator;
    let forward =
        EstimatorConfig::ForwardGradient(ForwardGradient { k: 1, perturbation: gaussian });
    assert_eq!(estimator("spry"), forward);
    assert_eq!(
        estimator("baffle+"),
        EstimatorConfig::FiniteDifference(FiniteDifference {
            k: 20,
            sigma: 1e-4,
            scheme: Scheme::Central,
            perturbation: gaussian
        })
    );
    assert_eq!(
        estimator("fwdllm+"),
        EstimatorConfig::Guided(Guided { candidates: 10, sigma: 1e-2, perturbation: gaussian })
    );
    assert_eq!(
        estimator("fedmezo"),
        EstimatorConfig::Spsa(Spsa { epsilon: 1e-3, perturbation: gaussian })
    );
    let spry = find("spry").unwrap();
    assert_eq!(spry.assignment, Assignment::Split { head: HeadAssignment::Shared });
    assert_eq!(spry.head_estimator, HeadEstimator::Same);
    assert_eq!(spry.batch_size, 8);
    let yogi = AdaptiveConfig::yogi();
    let constants = (yogi.learning_rate, yogi.beta_1, yogi.beta_2, yogi.tau);
    assert_eq!(constants, (1e-2, 0.9, 0.99, 1e-3));
    let yogi = ServerOptimizer::Adaptive(yogi);
    for name in ["spry", "fedyogi", "fwdllm+", "baffle+", "fedmezo", "fedfgd", "fedyogi-split"] {
        assert_eq!(find(name).unwrap().server, yogi, "{name}");
    }
    for (name, epochs) in [("spry", 1), ("fedavg", 1), ("fwdllm+", 1), ("fedmezo", 3)] {
        let Exchange::PerEpoch(local) = find(name).unwrap().exchange else { panic!("{name}") };
        assert_eq!(local.epochs, epochs, "{name}");
        let is_sgd = matches!(local.optimizer, LocalOptimizerConfig::Sgd(_));
        assert_eq!(is_sgd, name == "fedmezo", "{name}");
    }
    assert!(find("fwdllm+").unwrap().max_gradient_variance.is_some());
}

#[test]
fn every_method_is_valid_and_survives_a_configuration_file() {
    for spec in METHODS {
        let method = (spec.method)();
        assert_eq!(method.name, spec.name);
        method.validate().unwrap();
        let text = serde_json::to_string(&method).unwrap();
        assert_eq!(serde_json::from_str::<Method>(&text).unwrap(), method, "{text}");
        assert_eq!(method.with_options(&json!({})).unwrap(), method);
    }
}

#[test]
fn options_change_what_they_name_and_nothing_else() {
    let spry = find("spry").unwrap();
    let changed = spry
        .with_options(&json!({
            "assignment": {"head": "split"},
            "estimator": {"k": 4, "perturbation": "rademacher"},
            "exchange": {"optimizer": {"learning_rate": 0.5}},
            "server": {"learning_rate": 0.25},
        }))
        .unwrap();
    let mut expected = spry.clone();
    expected.assignment = Assignment::Split { head: HeadAssignment::Split };
    let perturbation = Perturbation::Rademacher;
    expected.estimator = EstimatorConfig::ForwardGradient(ForwardGradient { k: 4, perturbation });
    expected = expected.with_learning_rate(0.5);
    expected.server = expected.server.with_learning_rate(0.25);
    assert_eq!(changed, expected);

    // Another estimator comes with its own options and defaults.
    let changed = spry.with_options(&json!({"estimator": {"name": "spsa"}})).unwrap();
    assert_eq!(changed.estimator, EstimatorConfig::Spsa(Spsa::default()));
    // Another rule on the server comes with that rule's constants.
    for (rule, expected) in
        [("adam", AdaptiveConfig::adam()), ("adagrad", AdaptiveConfig::adagrad())]
    {
        let changed = spry.with_options(&json!({"server": {"rule": rule}})).unwrap();
        assert_eq!(changed.server, ServerOptimizer::Adaptive(expected));
    }
    let changed = spry.with_options(&json!({"server": {"rule": "adam", "tau": 0.5}})).unwrap();
    let expected = AdaptiveConfig { tau: 0.5, ..AdaptiveConfig::adam() };
    assert_eq!(changed.server, ServerOptimizer::Adaptive(expected));
    let yogi = find("fedavg").unwrap().with_assignments(&["server.name=adaptive"]).unwrap();
    assert_eq!(yogi.server, spry.server);
    // The head is shared unless it is said otherwise.
    let changed = find("fedavg").unwrap().with_assignments(&["assignment.name=split"]).unwrap();
    assert_eq!(changed.assignment, Assignment::Split { head: HeadAssignment::Shared });
}

#[test]
fn options_that_need_each_other_may_come_in_any_order() {
    let mut options =
        ["exchange.name=per-iteration", "server.name=sgd", "max_gradient_variance=null"];
    let method = find("fwdllm").unwrap();
    let forwards = method.with_assignments(&options).unwrap();
    options.reverse();
    assert_eq!(method.with_assignments(&options).unwrap(), forwards);
}

#[test]
fn a_configuration_with_an_unknown_option_is_an_error_too() {
    let table = serde_json::to_value(find("fedavg").unwrap()).unwrap();
    for place in ["", "assignment", "estimator", "exchange", "server"] {
        let mut table = table.clone();
        let part = if place.is_empty() { &mut table } else { &mut table[place] };
        part["tpyo"] = json!(1);
        let error = serde_json::from_value::<Method>(table).unwrap_err().to_string();
        assert!(error.contains("unknown field `tpyo`"), "{place}: {error}");
    }
}

#[test]
fn unknown_options_and_impossible_values_are_errors() {
    for (name, option, expected) in [
        ("spry", "k=4", "there is no option `k`"),
        ("spry", "estimator.sigma=1", "there is no option `estimator.sigma`"),
        ("spry", "estimator.k=0", "`k` is 0"),
        (
            "spry",
            "estimator.k=many",
            "`estimator.k` cannot be used: \"many\" is not a whole number",
        ),
        ("spry", "estimator.name=magic", "unknown variant `magic`"),
        ("spry", r#"estimator={"name": "spsa", "k": 4}"#, "there is no option `estimator.k`"),
        ("spry", r#"server={"name": "plain", "tau": 1}"#, "there is no option `server.tau`"),
        ("spry", "assignment.head=shred", "unknown variant `shred`"),
        ("spry", "estimator=spsa,k=4", "unknown variant `spsa,k=4`"),
        ("spry", "assignment.heads=shared", "there is no option `assignment.heads`"),
        ("fedavg", "estimator.k=4", "there is no option `estimator.k`"),
        ("fedavg", "server.learning_rate=1", "there is no option `server.learning_rate`"),
        ("fedavg", "batch_size=0", "`batch_size` is 0"),
        ("fedavg", "exchange.epochs=0", "`epochs` is 0"),
        ("fedavg", "exchange.optimizer.learning_rate=-1", "`learning_rate` is -1"),
        ("fedavg", r#"exchange={"name": "per-iteration"}"#, "`server` is plain"),
        ("fedavg", "server.rule=adam", "there is no option `server.rule`"),
        ("fedavg", "rule=adam", "there is no option `rule`"),
        ("fedsgd", "exchange.epochs=2", "there is no option `exchange.epochs`"),
        ("fedsgd", "max_gradient_variance=1", "`max_gradient_variance` is set"),
        ("fwdllm+", "max_gradient_variance=0", "`max_gradient_variance` is 0"),
        ("fedmezo", "estimator.perturbation=orthonormal", "`perturbation` is orthonormal"),
        ("fedyogi", "server.beta_1=1", "`server.beta_1` is 1"),
        ("fedyogi", "name=fedavg", "there is no option `name`"),
        ("fedyogi", r#"server={"rule": "adagrad", "beta_2": 0.9}"#, "`server.beta_2` is 0.9"),
        ("fedyogi", "server", "of the form path=value"),
    ] {
        let error = find(name).unwrap().with_assignments(&[option]).unwrap_err().to_string();
        assert!(error.contains(expected), "{name} {option}: {error}");
    }
}
