//! A federated least-squares problem with a known optimum.

use burn::tensor::{Device, Tensor, TensorData};
use spry_dual::Dual;
use spry_dual::ops::DropoutSeed;

use crate::{
    ClientData, ClientId, DualParams, Evaluation, GroupId, Objective, Param, ParamRole, ParamSet,
    Result, Seed, Split,
};

/// `f_c(w) = ½ Σ ‖w_g − t_{c,g}‖²` for client `c`, over weight groups `g`.
///
/// Groups have the paths `group.0.weight`, `group.1.weight`, …; the last is the head. Each
/// client's target lies around a common one, so the mean of the clients' targets minimises the
/// mean of their losses.
#[derive(Clone, Debug)]
pub struct Quadratic {
    groups: Vec<usize>,
    seed: Seed,
}

impl Quadratic {
    /// A problem with the given number of weights per group, drawn from a seed.
    ///
    /// # Panics
    ///
    /// If there is no group.
    pub fn new(groups: &[usize], seed: u64) -> Self {
        assert!(!groups.is_empty(), "a quadratic needs at least one group of weights");
        Self { groups: groups.to_vec(), seed: Seed::new(seed).child("quadratic", 0) }
    }

    /// Weights to start from: zeros.
    pub fn initial_params(&self) -> ParamSet {
        self.params_with(|_, length| vec![0.0; length])
    }

    /// The loss of a client.
    pub fn objective(&self, client: ClientId) -> QuadraticObjective {
        let common = self.params_with(|g, n| self.seed.child("common", g).normals(0, n));
        let own = self.seed.child("client", client as u64);
        let offset = self.params_with(|g, n| own.child("offset", g).normals(0, n));
        let target = common
            .zip(&offset, |common, offset| common.add(offset.mul_scalar(0.1)))
            .unwrap_or(common);
        QuadraticObjective { target }
    }

    /// A population of clients, each with 8 equal training examples and 2 test examples.
    pub fn clients(&self, count: usize) -> Vec<Box<dyn ClientData>> {
        (0..count)
            .map(|client| Box::new(QuadraticClient(self.objective(client))) as Box<dyn ClientData>)
            .collect()
    }

    /// Mean loss over the first `clients` clients.
    pub fn mean_loss(&self, params: &ParamSet, clients: usize) -> f64 {
        let loss = |client| self.objective(client).loss(params).unwrap_or(f64::NAN);
        (0..clients).map(loss).sum::<f64>() / clients as f64
    }

    /// Loss against the common target alone: 0 at the target, about the number of weights / 2 at
    /// the start.
    pub fn excess_loss(&self, params: &ParamSet) -> f64 {
        let target = self.params_with(|g, n| self.seed.child("common", g).normals(0, n));
        QuadraticObjective { target }.loss(params).unwrap_or(f64::NAN)
    }

    fn params_with(&self, values: impl Fn(u64, usize) -> Vec<f32>) -> ParamSet {
        let last = self.groups.len() - 1;
        self.groups
            .iter()
            .enumerate()
            .map(|(g, &length)| {
                let role = if g == last { ParamRole::Head } else { ParamRole::Adapter };
                let data = TensorData::new(values(g as u64, length), [length]);
                let tensor = Tensor::<1>::from_data(data, &Device::default());
                (format!("group.{g}.weight"), Param::new(tensor, role, GroupId(g as u32)))
            })
            .collect()
    }
}

/// The loss of one client of a [`Quadratic`].
#[derive(Clone, Debug)]
pub struct QuadraticObjective {
    target: ParamSet,
}

impl Objective for QuadraticObjective {
    fn forward(&self, params: &DualParams) -> Result<Dual<1>> {
        let mut loss = None;
        for (path, target) in self.target.iter() {
            let Some(weight) = params.get::<1>(path) else { continue };
            let term = weight.sub(Dual::constant(target.values().clone())).square().sum();
            loss = Some(match loss {
                None => term,
                Some(sum) => term.add(sum),
            });
        }
        Ok(loss
            .unwrap_or_else(|| Dual::constant(Tensor::zeros([1], &Device::default())))
            .mul_scalar(0.5))
    }

    fn evaluate(&self, params: &ParamSet) -> Result<Evaluation> {
        Ok(Evaluation { loss_sum: self.loss(params)?, correct: 0, f1_sum: None, examples: 1 })
    }
}

struct QuadraticClient(QuadraticObjective);

impl ClientData for QuadraticClient {
    fn num_examples(&self, split: Split) -> usize {
        match split {
            Split::Train => 8,
            Split::Test => 2,
        }
    }

    fn objective(
        &self,
        _split: Split,
        _examples: &[usize],
        _dropout: Option<DropoutSeed>,
    ) -> Result<Box<dyn Objective + '_>> {
        Ok(Box::new(self.0.clone()))
    }
}
