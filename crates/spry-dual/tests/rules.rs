//! Every derivative rule against central differences and against Burn's reverse mode, in f64.
//!
//! The table below has one row per operation. A rule without a row fails
//! `every_rule_has_a_row`, so a new operation is tested the moment it is written.

use std::collections::BTreeSet;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use spry_dual::ops::{self, AttentionMask, DropoutSeed};
use spry_dual::{Dual, jvp_many, trace};

/// How inputs are drawn, so that each operation stays away from its own singularities.
#[derive(Clone, Copy)]
enum Domain {
    /// Uniform in (−1.5, 1.5), at least 0.1 away from 0.
    Any,
    /// Uniform in (0.5, 2).
    Positive,
}

struct Row {
    op: &'static str,
    inputs: &'static [&'static [usize]],
    domain: Domain,
    apply: fn(&[Dual<1>], &Device) -> Dual<1>,
}

fn flat<const D: usize>(y: Dual<D>) -> Dual<1> {
    let length = y.dims().iter().product();
    y.reshape([length])
}

fn ids<const D: usize>(values: &[i64], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn padding(device: &Device) -> AttentionMask {
    let mask = TensorData::new(vec![1.0, 1.0, 1.0, 1.0, 1.0, 0.0], [2, 3]);
    AttentionMask::from_padding(Tensor::from_data(mask, (device, DType::F64)))
}

/// Two texts of three tokens, the second with padding.
fn causal(device: &Device, second: [f64; 3]) -> AttentionMask {
    let mask = TensorData::new([[1.0; 3], second].concat(), [2, 3]);
    AttentionMask::causal(Tensor::from_data(mask, (device, DType::F64)))
}

macro_rules! rows {
    ($($op:literal $domain:ident $inputs:expr => |$x:pat_param, $device:pat_param| $apply:expr;)*) => {
        &[$(Row { op: $op, inputs: $inputs, domain: Domain::$domain, apply: |$x, $device| $apply }),*]
    };
}

#[rustfmt::skip]
const ROWS: &[Row] = rows! {
    "neg"           Any      &[&[5]]                  => |x, _| x[0].clone().neg();
    "recip"         Any      &[&[5]]                  => |x, _| x[0].clone().recip();
    "exp"           Any      &[&[5]]                  => |x, _| x[0].clone().exp();
    "log"           Positive &[&[5]]                  => |x, _| x[0].clone().log();
    "sqrt"          Positive &[&[5]]                  => |x, _| x[0].clone().sqrt();
    "square"        Any      &[&[5]]                  => |x, _| x[0].clone().square();
    "tanh"          Any      &[&[5]]                  => |x, _| x[0].clone().tanh();
    "sigmoid"       Any      &[&[5]]                  => |x, _| x[0].clone().sigmoid();
    "relu"          Any      &[&[5]]                  => |x, _| x[0].clone().relu();
    "erf"           Any      &[&[5]]                  => |x, _| x[0].clone().erf();
    "silu"          Any      &[&[5]]                  => |x, _| x[0].clone().silu();
    "gelu"          Any      &[&[5]]                  => |x, _| x[0].clone().gelu();
    "gelu_tanh"     Any      &[&[5]]                  => |x, _| x[0].clone().gelu_tanh();
    "add"           Any      &[&[2, 3], &[1, 3]]      => |x, _| flat(x[0].clone().reshape([2, 3]).add(x[1].clone().reshape([1, 3])));
    "sub"           Any      &[&[1, 3], &[2, 3]]      => |x, _| flat(x[0].clone().reshape([1, 3]).sub(x[1].clone().reshape([2, 3])));
    "mul"           Any      &[&[2, 3], &[2, 1]]      => |x, _| flat(x[0].clone().reshape([2, 3]).mul(x[1].clone().reshape([2, 1])));
    "div"           Any      &[&[2, 3], &[1, 3]]      => |x, _| flat(x[0].clone().reshape([2, 3]).div(x[1].clone().reshape([1, 3])));
    "add_scalar"    Any      &[&[4]]                  => |x, _| x[0].clone().add_scalar(3.0).square();
    "mul_scalar"    Any      &[&[4]]                  => |x, _| x[0].clone().mul_scalar(-2.5);
    "reshape"       Any      &[&[6]]                  => |x, _| flat(x[0].clone().reshape([2, 3]).mul(x[0].clone().reshape([2, 3])));
    "swap_dims"     Any      &[&[6], &[6]]            => |x, _| flat(x[0].clone().reshape([2, 3]).swap_dims(0, 1).mul(x[1].clone().reshape([3, 2])));
    "narrow"        Any      &[&[6]]                  => |x, _| x[0].clone().narrow(0, 2, 3).square();
    "select"        Any      &[&[4, 2]]               => |x, d| flat(x[0].clone().reshape([4, 2]).select(0, ids(&[3, 0, 3], [3], d)));
    "expand"        Any      &[&[1, 3]]               => |x, _| flat(x[0].clone().reshape([1, 3]).expand([2, 3]));
    "cat"           Any      &[&[2, 2], &[2, 1]]      => |x, _| flat(Dual::cat(vec![x[0].clone().reshape([2, 2]), x[1].clone().reshape([2, 1])], 1));
    "sum"           Any      &[&[5]]                  => |x, _| x[0].clone().square().sum();
    "mean"          Any      &[&[5]]                  => |x, _| x[0].clone().square().mean();
    "sum_dim"       Any      &[&[2, 3]]               => |x, _| flat(x[0].clone().reshape([2, 3]).square().sum_dim(1));
    "mean_dim"      Any      &[&[2, 3]]               => |x, _| flat(x[0].clone().reshape([2, 3]).square().mean_dim(0));
    "matmul"        Any      &[&[2, 2, 3], &[2, 3, 2]]=> |x, _| flat(x[0].clone().reshape([2, 2, 3]).matmul(x[1].clone().reshape([2, 3, 2])));
    "linear"        Any      &[&[2, 2, 3], &[4, 3], &[4]] => |x, _| flat(ops::linear(x[0].clone().reshape([2, 2, 3]), x[1].clone().reshape([4, 3]), Some(x[2].clone())));
    "add_lora_branch" Any    &[&[2, 3], &[2, 4], &[1, 4], &[3, 1]] => |x, _| flat(ops::add_lora_branch(x[0].clone().reshape([2, 3]), x[1].clone().reshape([2, 4]), x[2].clone().reshape([1, 4]), x[3].clone().reshape([3, 1]), 0.5));
    "embedding"     Any      &[&[5, 2]]               => |x, d| flat(ops::embedding(x[0].clone().reshape([5, 2]), ids(&[0, 4, 4, 1], [2, 2], d)));
    "softmax"       Any      &[&[2, 4]]               => |x, _| flat(ops::softmax(x[0].clone().reshape([2, 4])));
    "log_softmax"   Any      &[&[2, 4]]               => |x, _| flat(ops::log_softmax(x[0].clone().reshape([2, 4])));
    "layer_norm"    Any      &[&[2, 4], &[4], &[4]]   => |x, _| flat(ops::layer_norm(x[0].clone().reshape([2, 4]), x[1].clone(), x[2].clone(), 1e-5));
    "rms_norm"      Any      &[&[2, 4], &[4]]         => |x, _| flat(ops::rms_norm(x[0].clone().reshape([2, 4]), x[1].clone(), 1e-5));
    "rotary"        Any      &[&[1, 2, 3, 4]]         => |x, d| flat(ops::rotary(x[0].clone().reshape([1, 2, 3, 4]), &ops::RotaryTable::new(0..3, &[1.0, 0.3], (d, DType::F64))));
    "attention"     Any      &[&[2, 2, 3, 2], &[2, 2, 3, 2], &[2, 2, 3, 3]] => |x, d| flat(ops::attention(
        x[0].clone().reshape([2, 2, 3, 2]), x[1].clone().reshape([2, 2, 3, 2]), x[2].clone().reshape([2, 2, 3, 3]),
        Some(&padding(d)), 0.7, Some((0.2, DropoutSeed(5)))));
    "attention"     Any      &[&[2, 4, 3, 2], &[2, 2, 3, 2], &[2, 2, 3, 1]] => |x, d| flat(ops::attention(
        x[0].clone().reshape([2, 4, 3, 2]), x[1].clone().reshape([2, 2, 3, 2]), x[2].clone().reshape([2, 2, 3, 1]),
        Some(&causal(d, [1.0, 1.0, 0.0])), 0.7, None));
    "cross_entropy" Any      &[&[3, 4]]               => |x, d| ops::cross_entropy(x[0].clone().reshape([3, 4]), ids(&[2, 0, 3], [3], d));
    "dropout"       Any      &[&[8]]                  => |x, _| ops::dropout(x[0].clone(), 0.5, DropoutSeed(3));
};

/// A small linear congruential generator: the test's own source of numbers.
struct Numbers(u64);

impl Numbers {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn input(&mut self, length: usize, domain: Domain) -> Vec<f64> {
        (0..length)
            .map(|_| match domain {
                Domain::Positive => 0.5 + 1.5 * self.uniform(),
                Domain::Any => {
                    let value = 0.1 + 1.4 * self.uniform();
                    if self.uniform() < 0.5 { -value } else { value }
                }
            })
            .collect()
    }
}

fn tensor(values: &[f64], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (device, DType::F64))
}

fn values(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_to_vec().unwrap()
}

struct Case {
    row: &'static Row,
    inputs: Vec<Vec<f64>>,
    directions: Vec<Vec<Vec<f64>>>,
}

const DIRECTIONS: usize = 3;

fn cases() -> impl Iterator<Item = Case> {
    let mut numbers = Numbers(42);
    ROWS.iter().map(move |row| {
        let lengths: Vec<usize> = row.inputs.iter().map(|s| s.iter().product()).collect();
        let inputs = lengths.iter().map(|&n| numbers.input(n, row.domain)).collect();
        let directions = (0..DIRECTIONS)
            .map(|_| lengths.iter().map(|&n| numbers.input(n, Domain::Any)).collect())
            .collect();
        Case { row, inputs, directions }
    })
}

impl Case {
    fn jvp(&self, directions: &[Vec<Vec<f64>>], device: &Device) -> (Vec<f64>, Vec<Vec<f64>>) {
        let primals = self.inputs.iter().map(|v| tensor(v, device)).collect();
        let tangents =
            directions.iter().map(|d| d.iter().map(|v| tensor(v, device)).collect()).collect();
        let (value, derivatives) =
            jvp_many(|inputs| (self.row.apply)(inputs, device), primals, tangents);
        (values(value), derivatives.into_iter().map(values).collect())
    }

    fn value(&self, inputs: &[Vec<f64>], device: &Device) -> Vec<f64> {
        let inputs: Vec<Dual<1>> =
            inputs.iter().map(|v| Dual::constant(tensor(v, device))).collect();
        values((self.row.apply)(&inputs, device).into_primal())
    }
}

fn assert_close(op: &str, what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{op}: {what}: lengths differ");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!(
            (g - e).abs() <= tolerance * (1.0 + e.abs()),
            "{op}: {what}: entry {i} is {g}, expected {e}"
        );
    }
}

#[test]
fn every_rule_matches_central_differences() {
    let device = Device::default();
    let step = 1e-5;
    for case in cases() {
        let (_, derivatives) = case.jvp(&case.directions, &device);
        for (direction, got) in case.directions.iter().zip(&derivatives) {
            let moved = |sign: f64| -> Vec<Vec<f64>> {
                let along = |(x, v): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> {
                    x.iter().zip(v).map(|(x, v)| x + sign * step * v).collect()
                };
                case.inputs.iter().zip(direction).map(along).collect()
            };
            let plus = case.value(&moved(1.0), &device);
            let minus = case.value(&moved(-1.0), &device);
            let expected: Vec<f64> =
                plus.iter().zip(&minus).map(|(p, m)| (p - m) / (2.0 * step)).collect();
            assert_close(case.row.op, "jvp against central difference", got, &expected, 1e-7);
        }
    }
}

/// ⟨w, J·v⟩ = ⟨Jᵀ·w, v⟩, with J·v from forward mode and Jᵀ·w from Burn's reverse mode.
#[test]
fn every_rule_matches_reverse_mode() {
    let device = Device::default();
    let mut numbers = Numbers(7);
    for case in cases() {
        let leaves: Vec<Tensor<1>> =
            case.inputs.iter().map(|v| tensor(v, &device).autodiff().require_grad()).collect();
        let duals: Vec<Dual<1>> = leaves.iter().cloned().map(Dual::constant).collect();
        let output = (case.row.apply)(&duals, &device).into_primal();
        let cotangent = numbers.input(output.dims()[0], Domain::Any);
        let gradients = output.mul(tensor(&cotangent, &device)).sum().backward();
        let gradients: Vec<Vec<f64>> =
            leaves.iter().map(|leaf| values(leaf.grad(&gradients).unwrap())).collect();

        let (_, derivatives) = case.jvp(&case.directions, &device);
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        for (direction, derivative) in case.directions.iter().zip(&derivatives) {
            let forward = dot(&cotangent, derivative);
            let reverse: f64 = gradients.iter().zip(direction).map(|(g, v)| dot(g, v)).sum();
            assert_close(case.row.op, "⟨w, Jv⟩ against ⟨Jᵀw, v⟩", &[forward], &[reverse], 1e-9);
        }
    }
}

#[test]
fn the_value_does_not_depend_on_being_perturbed() {
    let device = Device::default();
    for case in cases() {
        let (value, _) = case.jvp(&case.directions, &device);
        let plain = case.value(&case.inputs, &device);
        assert_close(case.row.op, "value with tangents", &value, &plain, 1e-12);
    }
}

#[test]
fn k_directions_equal_k_single_passes() {
    let device = Device::default();
    for case in cases() {
        let (_, together) = case.jvp(&case.directions, &device);
        for (k, direction) in case.directions.iter().enumerate() {
            let (_, alone) = case.jvp(std::slice::from_ref(direction), &device);
            assert_eq!(together[k], alone[0], "{}: direction {k}", case.row.op);
        }
    }
}

/// Perturbing one input at a time exercises the branches where the others are symbolic zeros.
#[test]
fn each_input_alone_contributes_its_share() {
    let device = Device::default();
    for case in cases().filter(|case| case.inputs.len() > 1) {
        let direction = &case.directions[0];
        let (_, together) = case.jvp(&case.directions[..1], &device);
        let mut total = vec![0.0; together[0].len()];
        for perturbed in 0..case.inputs.len() {
            let duals: Vec<Dual<1>> = case
                .inputs
                .iter()
                .enumerate()
                .map(|(i, x)| match i == perturbed {
                    true => Dual::new(tensor(x, &device), vec![tensor(&direction[i], &device)]),
                    false => Dual::constant(tensor(x, &device)),
                })
                .collect();
            let output = (case.row.apply)(&duals, &device);
            let share = values(output.tangents().direction(0, output.primal()));
            total.iter_mut().zip(share).for_each(|(t, s)| *t += s);
        }
        assert_close(case.row.op, "sum of the inputs' shares", &total, &together[0], 1e-12);
    }
}

#[test]
fn a_lora_branch_matches_the_product_of_its_factors() {
    let device = Device::default();
    let mut numbers = Numbers(3);
    let mut dual = |shape: [usize; 2]| {
        let length = shape.iter().product();
        let primal = tensor(&numbers.input(length, Domain::Any), &device).reshape(shape);
        let tangent = tensor(&numbers.input(length, Domain::Any), &device).reshape(shape);
        Dual::new(primal, vec![tangent])
    };
    let (x, a, b, y) = (dual([5, 4]), dual([2, 4]), dual([3, 2]), dual([5, 3]));
    let scaling = 0.5;
    let branch = ops::add_lora_branch(y.clone(), x.clone(), a.clone(), b.clone(), scaling);
    // The reference forms B·A, which the branch must not.
    let product = b.matmul(a).mul_scalar(scaling);
    let reference = y.add(ops::linear(x, product, None));
    assert_close(
        "add_lora_branch",
        "value",
        &values(branch.primal().clone().reshape([15])),
        &values(reference.primal().clone().reshape([15])),
        1e-12,
    );
    let tangent = |y: &Dual<2>| values(y.tangents().direction(0, y.primal()).reshape([15]));
    assert_close("add_lora_branch", "tangent", &tangent(&branch), &tangent(&reference), 1e-12);
}

/// Query heads that share a key give what they give when each has a copy of it; a causal mask
/// keeps later tokens and padding out.
#[test]
fn grouped_queries_match_repeated_keys() {
    let device = Device::default();
    let mut numbers = Numbers(11);
    let mut dual = |shape: [usize; 4]| {
        let length = shape.iter().product();
        let primal = tensor(&numbers.input(length, Domain::Any), &device).reshape(shape);
        let tangent = tensor(&numbers.input(length, Domain::Any), &device).reshape(shape);
        Dual::new(primal, vec![tangent])
    };
    let (q, k, v) = (dual([2, 4, 3, 2]), dual([2, 2, 3, 2]), dual([2, 2, 3, 2]));
    let mask = causal(&device, [0.0, 0.0, 1.0]);
    let attend = |k, v| ops::attention(q.clone(), k, v, Some(&mask), 0.7, None);
    let repeated = |x: &Dual<4>| {
        let heads = Tensor::from_data(TensorData::new(vec![0i64, 0, 1, 1], [4]), &device);
        x.clone().select(1, heads)
    };
    let (grouped, reference) = (attend(k.clone(), v.clone()), attend(repeated(&k), repeated(&v)));
    let all = |y: &Dual<4>| values(y.primal().clone().reshape([48]));
    let tangent = |y: &Dual<4>| values(y.tangents().direction(0, y.primal()).reshape([48]));
    assert_close("attention", "value", &all(&grouped), &all(&reference), 1e-12);
    assert_close("attention", "tangent", &tangent(&grouped), &tangent(&reference), 1e-12);
    // The first text's first query sees the first key only, the second text's third the third.
    let (got, value) = (all(&grouped), values(v.primal().clone().reshape([24])));
    assert_close("attention", "first query", &got[..2], &value[..2], 1e-12);
    assert_close("attention", "after padding", &got[28..30], &value[16..18], 1e-12);
}

/// Operations that record themselves, as written in the sources of `src/ops`.
fn rules_in_the_sources() -> BTreeSet<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut rules = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for marker in ["trace::record(\"", "record(\"", "linear_map(\"", "elementwise(\""] {
            for rest in source.split(marker).skip(1) {
                rules.insert(rest.split('"').next().unwrap().to_string());
            }
        }
        if let Some((_, table)) = source.split_once("\nelementwise_rules! {") {
            let table = table.split("\n}").next().unwrap();
            for line in table.lines().filter(|line| !line.trim_start().starts_with("///")) {
                if let Some((name, _)) = line.trim().split_once(':') {
                    rules.insert(name.to_string());
                }
            }
        }
    }
    rules
}

#[test]
fn every_rule_has_a_row() {
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.op.to_string()).collect();
    assert_eq!(rows, rules_in_the_sources());
}

#[test]
fn each_row_runs_the_operation_it_names() {
    let device = Device::default();
    for case in cases() {
        let (_, counts) = trace::record_ops(|| case.jvp(&case.directions, &device));
        assert!(
            counts.tangent.get(case.row.op).is_some_and(|&k| k >= DIRECTIONS),
            "{} did not carry tangents: {counts:?}",
            case.row.op
        );
    }
}
