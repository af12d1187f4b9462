//! The frozen prefix of a pass: what comes before anything that a client trains, taken from a
//! [`PrefixCache`] where it is known.

use std::sync::Arc;

use burn::tensor::Tensor;
use spry_core::{DualParams, ParamRole, PrefixCache};
use spry_data::{Targets, TokenBatch};
use spry_dual::Dual;

use crate::{ForwardContext, Model, Result, TokenInput};

/// A batch's part in a cache.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    cache: Arc<PrefixCache>,
    /// The key of each text of the batch.
    examples: Vec<usize>,
    /// Number of layers before the first that is trained.
    layers: usize,
}

impl Prefix {
    /// `None` if nothing but embeddings, which cost little, comes before what is trained.
    pub(crate) fn new(model: &Model, cache: Arc<PrefixCache>, examples: &[usize]) -> Option<Self> {
        let depths = cache.trains().iter().map(|path| depth(model, path));
        let layers = depths.min().filter(|&layers| layers > 0)?;
        Some(Self { cache, examples: examples.to_vec(), layers })
    }

    /// Whether the cache may be used with these parameters: what it keeps must not depend on what
    /// moves.
    pub(crate) fn serves(&self, params: &DualParams) -> bool {
        params.moves_only(self.cache.trains())
    }

    /// [`Architecture::encode`](crate::Architecture::encode) of the batch, packed, with as little
    /// work as the cache allows. Results are the same bits as without it, because the kernels
    /// compute each text apart from the others.
    pub(crate) fn encode(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        batch: &TokenBatch,
    ) -> Result<Dual<3>> {
        let architecture = context.model().architecture();
        let x = self.hidden(context, input, batch)?;
        let rest = self.layers..architecture.num_layers();
        architecture.finish(context, architecture.layers(context, input, rest, x)?)
    }

    /// What the first trained layer gets: texts that are known, and the others computed together.
    fn hidden(
        &self,
        context: &ForwardContext,
        input: &TokenInput,
        batch: &TokenBatch,
    ) -> Result<Dual<3>> {
        let known: Vec<Option<Tensor<2>>> =
            self.examples.iter().map(|&example| self.cache.get(example)).collect();
        let is_unknown = |row: &usize| known[*row].is_none();
        let unknown: Vec<usize> = (0..known.len()).filter(is_unknown).collect();
        if unknown.len() == known.len() {
            let x = self.compute(context, input)?;
            self.cache.keep(self.examples.iter().copied().zip(texts(&x, input)));
            return Ok(x);
        }
        let mut computed = Vec::new();
        if !unknown.is_empty() {
            let Some(rest) = TokenInput::packed(&select(batch, &unknown), context.model())? else {
                unreachable!("texts of a batch that could be packed can be packed")
            };
            computed = texts(&self.compute(context, &rest)?, &rest);
            let examples = unknown.iter().map(|&row| self.examples[row]);
            self.cache.keep(examples.zip(computed.iter().cloned()));
        }
        let mut computed = computed.into_iter();
        let all = known.into_iter().filter_map(|kept| kept.or_else(|| computed.next()));
        let rows = Tensor::cat(all.collect(), 0);
        let [tokens, width] = rows.dims();
        Ok(Dual::constant(rows.reshape([1, tokens, width])))
    }

    fn compute(&self, context: &ForwardContext, input: &TokenInput) -> Result<Dual<3>> {
        let architecture = context.model().architecture();
        let x = architecture.embed(context, input)?;
        architecture.layers(context, input, 0..self.layers, x)
    }
}

/// The rows of each text of a packed batch, as views.
fn texts(x: &Dual<3>, input: &TokenInput) -> Vec<Tensor<2>> {
    let [batch, seq, width] = x.dims();
    let rows = x.primal().clone().reshape([batch * seq, width]);
    let mut start = 0;
    let text = |&length: &usize| {
        start += length;
        rows.clone().narrow(0, start - length, length)
    };
    input.lengths().unwrap_or_default().iter().map(text).collect()
}

/// Number of layers before the one that a trained parameter is in: all for one of the head, none
/// for one before the layers.
fn depth(model: &Model, path: &str) -> usize {
    let (architecture, tensors) = (model.architecture(), model.tensors());
    let layers = architecture.num_layers();
    let module = path.split(".lora_").next().unwrap_or(path);
    let module = module.strip_suffix(".ia3_l").unwrap_or(module);
    let own = tensors.iter().position(|tensor| {
        tensor.path == path
            || tensor.path.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
    });
    if own.is_some_and(|own| tensors[own].role == ParamRole::Head) {
        return layers;
    }
    let is_in = |path: &str, index: usize| {
        let rest = path.strip_prefix(&architecture.layer_path(index));
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some(layer) = (0..layers).find(|&layer| is_in(path, layer)) {
        return layer;
    }
    // Tensors are listed by depth: what comes after the first layer's comes after the last's, too.
    let first = tensors.iter().position(|tensor| is_in(&tensor.path, 0));
    match (first, own) {
        (Some(first), Some(own)) if own > first => layers,
        _ => 0,
    }
}

/// Some rows of a batch.
fn select(batch: &TokenBatch, rows: &[usize]) -> TokenBatch {
    fn pick<T: Copy>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
        rows.iter().flat_map(|&row| &values[row * width..(row + 1) * width]).copied().collect()
    }
    TokenBatch {
        batch: rows.len(),
        seq: batch.seq,
        input_ids: pick(&batch.input_ids, batch.seq, rows),
        token_type_ids: pick(&batch.token_type_ids, batch.seq, rows),
        attention_mask: pick(&batch.attention_mask, batch.seq, rows),
        targets: match &batch.targets {
            Targets::Classes(classes) => Targets::Classes(pick(classes, 1, rows)),
            Targets::Spans(spans) => Targets::Spans(pick(spans, 1, rows)),
        },
    }
}
