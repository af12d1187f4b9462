//! A client that finetunes a sequence classifier.

use std::sync::Arc;

use spry_core::{ClientData, Objective, PrefixCache, Split};
use spry_data::{ClientShare, EncodedExample, TokenBatch};
use spry_dual::ops::DropoutSeed;

use crate::{BatchObjective, Error, PeftModel, Result};

/// A client that finetunes a sequence classifier on its share of a dataset.
pub struct TextClient {
    model: PeftModel,
    dataset: Arc<Vec<EncodedExample>>,
    share: ClientShare,
    pad_id: u32,
    uses_dropout: bool,
}

impl TextClient {
    /// A client with a share of an encoded dataset. `uses_dropout` says whether training applies
    /// the model's and the adapter's dropout, as PyTorch's `model.train()` does.
    pub fn new(
        model: PeftModel,
        dataset: Arc<Vec<EncodedExample>>,
        share: ClientShare,
        pad_id: u32,
        uses_dropout: bool,
    ) -> Self {
        Self { model, dataset, share, pad_id, uses_dropout }
    }

    fn batch(&self, split: Split, examples: &[usize]) -> Result<TokenBatch> {
        let of_share = self.examples(split);
        let examples: Option<Vec<&EncodedExample>> =
            examples.iter().map(|&index| self.dataset.get(*of_share.get(index)?)).collect();
        let examples = examples.ok_or_else(|| Error::Batch {
            reason: "it names an example that the client does not have".to_string(),
        })?;
        Ok(TokenBatch::pad(examples, self.pad_id))
    }

    fn on_batch(&self, batch: &TokenBatch, dropout: Option<DropoutSeed>) -> Result<BatchObjective> {
        self.model.objective(batch, dropout.filter(|_| self.uses_dropout))
    }

    fn examples(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.share.train,
            Split::Test => &self.share.test,
        }
    }
}

impl ClientData for TextClient {
    fn num_examples(&self, split: Split) -> usize {
        self.examples(split).len()
    }

    fn objective(
        &self,
        split: Split,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
    ) -> spry_core::Result<Box<dyn Objective + '_>> {
        let batch = self.batch(split, examples)?;
        Ok(Box::new(self.on_batch(&batch, dropout)?))
    }

    fn training_objective(
        &self,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
        cache: &Arc<PrefixCache>,
    ) -> spry_core::Result<Box<dyn Objective + '_>> {
        let batch = self.batch(Split::Train, examples)?;
        Ok(Box::new(self.on_batch(&batch, dropout)?.with_prefix(cache, examples)?))
    }
}
