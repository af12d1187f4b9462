//! Wrong usage panics, or errors, with a message that says what to do.

use burn::tensor::{Device, Tensor};
use spry_dual::ops::{self, DropoutSeed};
use spry_dual::{Dual, jvp, jvp_many, trace};

fn matrix(rows: usize, columns: usize) -> Tensor<2> {
    Tensor::ones([rows, columns], &Device::default())
}

fn perturbed(rows: usize, columns: usize, k: usize) -> Dual<2> {
    Dual::new(matrix(rows, columns), vec![matrix(rows, columns); k])
}

fn panic_message(work: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(work).expect_err("the call must panic");
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string()))
        .expect("a panic carries a message")
}

#[test]
fn messages_name_the_operation_and_the_remedy() {
    type Misuse = (&'static str, fn(), &'static [&'static str]);
    let table: &[Misuse] = &[
        (
            "mixed K",
            || drop(perturbed(2, 2, 1).mul(perturbed(2, 2, 3))),
            &["`mul`", "1 and 3 directions", "same K"],
        ),
        (
            "mixed K in linear",
            || drop(ops::linear(perturbed(2, 3, 2), perturbed(4, 3, 1), None)),
            &["`linear`", "2 and 1 directions"],
        ),
        (
            "shape of a direction",
            || drop(Dual::new(matrix(2, 3), vec![matrix(3, 2)])),
            &["direction 0", "[3, 2]", "[2, 3]", "must match its primal"],
        ),
        ("no direction", || drop(Dual::new(matrix(1, 1), vec![])), &["Dual::constant"]),
        (
            "broadcast",
            || drop(perturbed(2, 3, 1).add(perturbed(2, 2, 1))),
            &["`add`", "axis 1 has 3 and 2"],
        ),
        (
            "inner sizes",
            || drop(perturbed(2, 3, 1).matmul(perturbed(2, 3, 1))),
            &["`matmul`", "[2, 3] by [2, 3]"],
        ),
        (
            "linear input",
            || drop(ops::linear(perturbed(2, 3, 1), perturbed(4, 5, 1), None)),
            &["`linear`", "last axis must be 5"],
        ),
        (
            "nesting with reverse mode",
            || drop(Dual::new(matrix(1, 1).autodiff(), vec![matrix(1, 1)])),
            &["do not nest", "without_autodiff"],
        ),
        (
            "direction out of range",
            || {
                let x = perturbed(1, 1, 2);
                drop(x.tangents().direction(2, x.primal()));
            },
            &["direction 2", "2 direction(s)", "counted from 0"],
        ),
        (
            "jvp_many arity",
            || drop(jvp_many(|x| x[0].clone(), vec![matrix(1, 1)], vec![vec![]])),
            &["1 primals", "direction 0 has 0 tensors"],
        ),
        (
            "dropout probability",
            || drop(ops::dropout(perturbed(1, 1, 1), 1.0, DropoutSeed(0))),
            &["below 1, got 1"],
        ),
        ("empty cat", || drop(Dual::<2>::cat(vec![], 0)), &["at least one part"]),
    ];
    std::panic::set_hook(Box::new(|_| {}));
    for (name, misuse, expected) in table {
        let message = panic_message(misuse);
        for part in *expected {
            assert!(message.contains(part), "{name}: {message:?} does not contain {part:?}");
        }
    }
    let _ = std::panic::take_hook();
}

#[test]
fn a_missing_rule_is_an_error_that_names_the_operation() {
    let error = perturbed(2, 2, 1).without_rule("sort", |x| x.sort(0)).unwrap_err();
    assert_eq!(error.op, "sort");
    assert!(error.to_string().contains("`sort`"));
    // Without tangents there is nothing to lose, so the operation runs.
    assert!(Dual::constant(matrix(2, 2)).without_rule("sort", |x| x.sort(0)).is_ok());
}

#[test]
fn operations_before_the_perturbed_weight_do_no_tangent_work() {
    let x = Dual::constant(matrix(2, 3));
    let frozen = Dual::constant(matrix(3, 3));
    let (_, counts) = trace::record_ops(|| {
        let hidden = ops::linear(x, frozen.clone(), None).gelu();
        let hidden = ops::softmax(ops::linear(hidden, frozen, None));
        ops::linear(hidden, perturbed(1, 3, 4), None).sum()
    });
    assert_eq!(counts.primal["linear"], 3);
    assert_eq!(counts.tangent["linear"], 4, "only the last linear layer is perturbed");
    assert_eq!(counts.tangent["sum"], 4);
    assert_eq!(counts.total_tangent(), 8);
}

/// The classic trap of forward mode: an inner derivative must not see the outer perturbation. Here
/// an inner jvp starts from the primal, so the outer direction cannot leak into it.
#[test]
fn an_inner_jvp_does_not_see_the_outer_direction() {
    let device = Device::default();
    let one = Tensor::<1>::from_floats([1.0], &device);
    // d/dx [ x · d/dy (x + y) ] = 1 at any x, y; confusing the perturbations gives 2.
    let (_, derivatives) = jvp(
        |x| {
            let constant = x.clone().detach();
            let (_, inner) =
                jvp(|y| constant.add(y), Tensor::from_floats([2.0], &device), vec![one.clone()]);
            x.mul(Dual::constant(inner[0].clone()))
        },
        Tensor::from_floats([3.0], &device),
        vec![one.clone()],
    );
    assert_eq!(derivatives[0].clone().into_scalar::<f32>(), 1.0);
}
