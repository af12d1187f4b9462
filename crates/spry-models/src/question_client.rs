//! A client that finetunes a model on questions.

use std::sync::Arc;

use spry_core::{ClientData, DualParams, Evaluation, Objective, ParamSet, Split};
use spry_data::question_answering::decode::{DecodeConfig, SpanLogits, answer};
use spry_data::question_answering::metric;
use spry_data::{ClientShare, EncodedQuestion, TokenBatch, Window};
use spry_dual::Dual;
use spry_dual::ops::DropoutSeed;

use crate::{Error, PeftModel, Result, checkpoint};

/// A client with questions. An example to train on is a window, an example to test on a question
/// in all its windows: its answer is decoded and judged as in SQuAD's official evaluation.
pub struct QuestionClient {
    model: PeftModel,
    dataset: Arc<Vec<EncodedQuestion>>,
    /// Questions and windows to train on.
    train: Vec<(usize, usize)>,
    /// Questions to test on.
    test: Vec<usize>,
    pad_id: u32,
    uses_dropout: bool,
    decode: DecodeConfig,
}

impl QuestionClient {
    /// A client with a share of encoded questions. `uses_dropout` says whether training applies
    /// the model's and the adapter's dropout, as PyTorch's `model.train()` does.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] if the share names a question that there is not.
    pub fn new(
        model: PeftModel,
        dataset: Arc<Vec<EncodedQuestion>>,
        share: ClientShare,
        pad_id: u32,
        uses_dropout: bool,
        decode: DecodeConfig,
    ) -> Result<Self> {
        let mut all = share.train.iter().chain(&share.test);
        if let Some(question) = all.find(|&&question| question >= dataset.len()) {
            return Err(Error::Batch {
                reason: format!("there is no question {question} among {}", dataset.len()),
            });
        }
        let windows = |&question: &usize| {
            (0..dataset[question].windows.len()).map(move |window| (question, window))
        };
        let train = share.train.iter().flat_map(windows).collect();
        Ok(Self { model, dataset, train, test: share.test, pad_id, uses_dropout, decode })
    }
}

impl ClientData for QuestionClient {
    fn num_examples(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train.len(),
            Split::Test => self.test.len(),
        }
    }

    fn objective(
        &self,
        split: Split,
        examples: &[usize],
        dropout: Option<DropoutSeed>,
    ) -> spry_core::Result<Box<dyn Objective + '_>> {
        let lacking = || Error::Batch {
            reason: "it names an example that the client does not have".to_string(),
        };
        let dropout = dropout.filter(|_| self.uses_dropout);
        match split {
            Split::Train => {
                let window = |&index: &usize| {
                    let &(question, window) = self.train.get(index)?;
                    self.dataset[question].windows.get(window)
                };
                let windows: Option<Vec<&Window>> = examples.iter().map(window).collect();
                let batch = TokenBatch::of_windows(&windows.ok_or_else(lacking)?, self.pad_id);
                Ok(Box::new(self.model.objective(&batch, dropout)?))
            }
            Split::Test => {
                let question = |&index: &usize| Some(&self.dataset[*self.test.get(index)?]);
                let questions: Option<Vec<_>> = examples.iter().map(question).collect();
                let questions = questions.ok_or_else(lacking)?;
                Ok(Box::new(QuestionObjective { client: self, questions, dropout }))
            }
        }
    }
}

/// Whole questions: their loss is that of all their windows, their evaluation that of the answers.
struct QuestionObjective<'a> {
    client: &'a QuestionClient,
    questions: Vec<&'a EncodedQuestion>,
    dropout: Option<DropoutSeed>,
}

impl<'a> QuestionObjective<'a> {
    fn windows(&self) -> Vec<&'a Window> {
        self.questions.iter().flat_map(|question| &question.windows).collect()
    }

    /// The logits and the loss of each window. As many windows at a time as there are questions:
    /// contexts may be long.
    fn logits(&self, params: &ParamSet) -> Result<Vec<(SpanLogits, f64)>> {
        let constant = DualParams::constant(params);
        let mut all = Vec::new();
        for windows in self.windows().chunks(self.questions.len().max(1)) {
            let batch = TokenBatch::of_windows(windows, self.client.pad_id);
            let objective = self.client.model.objective(&batch, None)?;
            let logits = objective.logits(&constant)?.into_primal();
            let logits = checkpoint::to_vec(logits.into_data());
            let (starts, ends) = logits.split_at(logits.len() / 2);
            let rows = starts.chunks(batch.seq).zip(ends.chunks(batch.seq));
            for (window, (start, end)) in windows.iter().zip(rows) {
                // What is padding depends on the other windows of the batch: it stays out.
                let length = window.input_ids.len();
                let (start, end) = (start[..length].to_vec(), end[..length].to_vec());
                let [first, last] = window.span;
                let loss = 0.5 * (cross_entropy(&start, first) + cross_entropy(&end, last));
                all.push((SpanLogits { start, end }, loss));
            }
        }
        Ok(all)
    }
}

impl Objective for QuestionObjective<'_> {
    fn forward(&self, params: &DualParams) -> spry_core::Result<Dual<1>> {
        let batch = TokenBatch::of_windows(&self.windows(), self.client.pad_id);
        self.client.model.objective(&batch, self.dropout)?.forward(params)
    }

    /// The loss of a question is the mean of its windows' losses.
    fn evaluate(&self, params: &ParamSet) -> spry_core::Result<Evaluation> {
        let logits = self.logits(params)?;
        let mut logits = logits.into_iter();
        let evaluate = |question: &EncodedQuestion| {
            let windows: Vec<(SpanLogits, f64)> =
                logits.by_ref().take(question.windows.len()).collect();
            let loss = windows.iter().map(|(_, loss)| loss).sum::<f64>() / windows.len() as f64;
            let windows: Vec<SpanLogits> = windows.into_iter().map(|(logits, _)| logits).collect();
            let predicted = answer(question, &windows, &self.client.decode);
            let score = metric::score(predicted, question.answers.iter().map(String::as_str));
            Evaluation {
                loss_sum: loss,
                correct: score.is_exact.into(),
                f1_sum: Some(score.f1),
                examples: 1,
            }
        };
        Ok(self.questions.iter().copied().map(evaluate).sum())
    }
}

/// The cross entropy of one row of logits.
fn cross_entropy(logits: &[f64], target: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    largest + sum.ln() - logits[target]
}
