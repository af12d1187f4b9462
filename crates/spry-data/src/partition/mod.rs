//! Which client gets which examples.
//!
//! - [`Partitioner::Dirichlet`]: label skew with concentration α, the same for every client.
//! - [`Partitioner::DirichletPaper`]: label skew as the paper's published loader makes it.
//! - [`Partitioner::Iid`]: a random deal.
//! - [`Partitioner::Natural`]: groups of examples that belong together, such as one author's; see
//!   [`by_key`].
//!
//! Each client's share is then split into a training and a test part.

mod balance;
mod dirichlet;
mod natural;
mod published;
mod rounding;

pub use natural::by_key;
use serde::{Deserialize, Serialize};
use spry_core::Seed;

use crate::{Error, Result};

/// How examples are spread over clients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Partitioner {
    /// Every client draws its class proportions from `Dir(α·q)`, where `q` are the shares of the
    /// classes in the dataset (Hsu et al. 2019, arXiv 1909.06335), and gets examples in these
    /// proportions as far as the examples that there are allow. Which number a client has makes no
    /// difference.
    Dirichlet {
        /// Concentration α, above 0: small means few classes per client, large means all like the
        /// dataset. The variance of a class's share over clients is about `q·(1 − q)/(1 + α)`.
        #[serde(default = "default_alpha")]
        alpha: f64,
    },
    /// As the paper's published loader deals: every client in turn draws proportions from the
    /// symmetric `Dir(α·1)` and takes its examples of the classes that are left, so that classes run
    /// out and the last clients get the rest, however large α is. With K classes of the same size
    /// its first clients are as skewed as [`Dirichlet`](Self::Dirichlet) with K times the α.
    DirichletPaper {
        /// Concentration α, above 0.
        #[serde(default = "default_alpha")]
        alpha: f64,
    },
    /// Every client gets a uniform random sample.
    Iid,
    /// Every client gets whole groups of examples that belong together, such as the questions
    /// about one article.
    Natural,
}

/// The paper's α for heterogeneous clients; there it is that of the symmetric distribution.
fn default_alpha() -> f64 {
    1.0
}

impl Default for Partitioner {
    /// Dirichlet with α = 1.
    fn default() -> Self {
        Self::Dirichlet { alpha: default_alpha() }
    }
}

impl Partitioner {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for an α that is not a positive number.
    pub fn validate(&self) -> Result<()> {
        match *self {
            Self::Dirichlet { alpha } | Self::DirichletPaper { alpha } => {
                match alpha.is_finite() && alpha > 0.0 {
                    true => Ok(()),
                    false => Err(dirichlet::invalid_alpha(alpha)),
                }
            }
            Self::Iid | Self::Natural => Ok(()),
        }
    }

    /// The same with another concentration; where there is none, [`Dirichlet`](Self::Dirichlet).
    ///
    /// ```
    /// use spry_data::Partitioner;
    ///
    /// let published = Partitioner::DirichletPaper { alpha: 1.0 };
    /// assert_eq!(published.with_alpha(0.1), Partitioner::DirichletPaper { alpha: 0.1 });
    /// assert_eq!(Partitioner::Iid.with_alpha(0.1), Partitioner::Dirichlet { alpha: 0.1 });
    /// ```
    pub fn with_alpha(&self, alpha: f64) -> Self {
        match self {
            Self::DirichletPaper { .. } => Self::DirichletPaper { alpha },
            Self::Dirichlet { .. } | Self::Iid | Self::Natural => Self::Dirichlet { alpha },
        }
    }

    /// Deals examples to clients; each example goes to at most one. Every client gets
    /// `⌊examples / clients⌋`, the remainder goes to none (see
    /// [`left_out`](Partition::left_out)); but `Natural` deals all, in shares as
    /// unequal as the groups.
    ///
    /// `labels` are the class numbers, `keys` what each example belongs to (empty if that is not
    /// known). Returns, for each client, indices into `labels`.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyClients`], or [`Error::InvalidOption`] for no clients, an α that is not a
    /// positive number, or `Natural` without keys.
    ///
    /// ```
    /// use spry_core::Seed;
    /// use spry_data::Partitioner;
    ///
    /// let labels: Vec<usize> = (0..100).map(|i| i % 4).collect();
    /// let shares = Partitioner::Dirichlet { alpha: 1.0 }.deal(&labels, &[], 10, &Seed::new(0))?;
    /// assert!(shares.iter().all(|share| share.len() == 10));
    /// # Ok::<(), spry_data::Error>(())
    /// ```
    pub fn deal(
        &self,
        labels: &[usize],
        keys: &[String],
        clients: usize,
        seed: &Seed,
    ) -> Result<Vec<Vec<usize>>> {
        self.validate()?;
        check_clients(clients, labels.len())?;
        let size = labels.len() / clients;
        match *self {
            Self::Dirichlet { alpha } => dirichlet::deal(labels, clients, size, alpha, seed),
            Self::DirichletPaper { alpha } => published::deal(labels, clients, size, alpha, seed),
            Self::Iid => {
                let mut order: Vec<usize> = (0..labels.len()).collect();
                seed.child("iid", 0).shuffle(&mut order);
                Ok(order.chunks_exact(size).take(clients).map(<[usize]>::to_vec).collect())
            }
            Self::Natural if keys.len() != labels.len() => Err(Error::InvalidOption {
                option: "partitioner",
                got: "natural".to_string(),
                expected: "another one: this dataset has no `key_column` that says which examples \
                           belong together"
                    .to_string(),
            }),
            Self::Natural => {
                let mut shares = by_key(keys, clients, seed)?;
                // The first part of a share is trained on, and files may be sorted.
                for (client, share) in shares.iter_mut().enumerate() {
                    seed.child("share", client as u64).shuffle(share);
                }
                Ok(shares)
            }
        }
    }
}

fn check_clients(clients: usize, examples: usize) -> Result<()> {
    if clients == 0 {
        return Err(Error::InvalidOption {
            option: "clients",
            got: "0".to_string(),
            expected: "at least 1".to_string(),
        });
    }
    if clients > examples {
        return Err(Error::TooManyClients { clients, examples });
    }
    Ok(())
}

/// One client's examples, as indices into the dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientShare {
    /// To train on.
    pub train: Vec<usize>,
    /// To evaluate on.
    pub test: Vec<usize>,
}

/// All clients' shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// One share per client.
    pub clients: Vec<ClientShare>,
}

impl Partition {
    /// The share of a client's examples that it trains on in the paper: 80 %.
    pub const TRAIN_SHARE: f64 = 0.8;

    /// Splits each client's examples: the first `train_share` of them (rounded down, but at least
    /// one) to train on, the rest to test on.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the share is not in `(0, 1]`.
    pub fn from_shares(shares: Vec<Vec<usize>>, train_share: f64) -> Result<Self> {
        if !(train_share > 0.0 && train_share <= 1.0) {
            return Err(Error::InvalidOption {
                option: "train_share",
                got: train_share.to_string(),
                expected: "above 0 and at most 1".to_string(),
            });
        }
        let split = |mut examples: Vec<usize>| {
            let train = (examples.len() as f64 * train_share + 1e-9).floor() as usize;
            let test = examples.split_off(train.max(1).min(examples.len()));
            ClientShare { train: examples, test }
        };
        Ok(Self { clients: shares.into_iter().map(split).collect() })
    }

    /// How many of a dataset's examples no client has.
    ///
    /// ```
    /// use spry_data::Partition;
    ///
    /// let partition = Partition::from_shares(vec![vec![0, 1, 2], vec![4, 5, 6]], 0.5)?;
    /// assert_eq!(partition.left_out(8), 2);
    /// # Ok::<(), spry_data::Error>(())
    /// ```
    pub fn left_out(&self, examples: usize) -> usize {
        let dealt = self.clients.iter().map(|share| share.train.len() + share.test.len());
        examples.saturating_sub(dealt.sum())
    }

    /// Class counts per client, training and test part together: `[client][class]`.
    pub fn class_counts(&self, labels: &[usize], classes: usize) -> Vec<Vec<usize>> {
        let count = |share: &ClientShare| {
            let mut counts = vec![0; classes];
            for &example in share.train.iter().chain(&share.test) {
                counts[labels[example]] += 1;
            }
            counts
        };
        self.clients.iter().map(count).collect()
    }
}
