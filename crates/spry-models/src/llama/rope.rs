//! Frequencies of the rotary embedding.

use serde::Deserialize;
use spry_data::guard::sayable;

use crate::config::Object;

/// How positions become angles; names as in Hugging Face's `rope_parameters`, or `rope_scaling` in
/// older files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Rope {
    /// `default`, `linear` or `llama3`.
    #[serde(default)]
    pub rope_type: Option<String>,
    /// The same in older files; newer ones may have both.
    #[serde(default, rename = "type")]
    pub legacy_type: Option<String>,
    /// Base of the frequencies.
    #[serde(default)]
    pub rope_theta: Option<f64>,
    /// How much longer the context is than in pretraining.
    #[serde(default)]
    pub factor: Option<f64>,
    /// Frequencies with fewer turns than this in the original context are divided by the factor.
    #[serde(default)]
    pub low_freq_factor: Option<f64>,
    /// Frequencies with more turns than this in the original context stay.
    #[serde(default)]
    pub high_freq_factor: Option<f64>,
    /// Length of the context in pretraining.
    #[serde(default)]
    pub original_max_position_embeddings: Option<usize>,
    /// Share of a head that is turned; only 1 is supported.
    #[serde(default)]
    pub partial_rotary_factor: Option<f64>,
    /// All other keys.
    #[serde(flatten)]
    pub others: Object,
}

/// Keys of ways to scale that are not supported; without effect beside those that are.
const OF_OTHER_TYPES: &[&str] = &[
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "finetuned",
    "long_factor",
    "mscale",
    "mscale_all_dim",
    "short_factor",
    "truncate",
];

impl Rope {
    /// Angles per position in radians, one for each pair of entries of a head.
    ///
    /// # Errors
    ///
    /// Says what is missing or not supported.
    pub fn frequencies(&self, head_dim: usize, theta: f64) -> Result<Vec<f64>, String> {
        let positive = |key: &str, value: Option<f64>| match value {
            Some(value) if value > 0.0 && value.is_finite() => Ok(value),
            Some(value) => Err(format!("`{key}` is {value}, but must be above 0")),
            None => Err(format!("`{key}` is missing beside the `rope_type`")),
        };
        // A table for each type of layer, or an option that this version does not know.
        let is_known = |(key, value): &(&String, &serde_json::Value)| {
            value.is_null() || OF_OTHER_TYPES.contains(&key.as_str())
        };
        if let Some((key, value)) = self.others.iter().find(|other| !is_known(other)) {
            let (key, value) = (sayable(key), sayable(&value.to_string()));
            return Err(format!("`{key}` = {value} of the rotary embedding is not supported"));
        }
        let theta = positive("rope_theta", Some(self.rope_theta.unwrap_or(theta)))?;
        if let Some(share) = self.partial_rotary_factor.filter(|&share| share != 1.0) {
            return Err(format!(
                "`partial_rotary_factor` = {share} is not supported; supported: 1"
            ));
        }
        let pairs = (0..head_dim / 2).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64));
        let rope_type = self.rope_type.as_deref().or(self.legacy_type.as_deref());
        match rope_type.unwrap_or("default") {
            "default" => Ok(pairs.collect()),
            "linear" => {
                let factor = positive("factor", self.factor)?;
                Ok(pairs.map(|frequency| frequency / factor).collect())
            }
            "llama3" => {
                let factor = positive("factor", self.factor)?;
                let low = positive("low_freq_factor", self.low_freq_factor)?;
                let high = positive("high_freq_factor", self.high_freq_factor)?;
                let original = self.original_max_position_embeddings.map(|length| length as f64);
                let original = positive("original_max_position_embeddings", original)?;
                if high <= low {
                    return Err(format!(
                        "`high_freq_factor` is {high}, but must be above `low_freq_factor` = {low}"
                    ));
                }
                // Between the two bands, a straight line in the number of turns.
                let scaled = |frequency: f64| {
                    let turns = original * frequency / std::f64::consts::TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (kept + (1.0 - kept) / factor)
                };
                Ok(pairs.map(scaled).collect())
            }
            other => Err(format!(
                "`rope_type` = {other} is not supported; supported: default, linear, llama3"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(json: &str) -> Rope {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn frequencies_fall_from_one() {
        let frequencies = Rope::default().frequencies(4, 100.0).unwrap();
        assert_eq!(frequencies.len(), 2);
        assert!((frequencies[0] - 1.0).abs() < 1e-15 && (frequencies[1] - 0.1).abs() < 1e-15);
        let linear = rope(r#"{"type": "linear", "factor": 4.0}"#).frequencies(4, 100.0).unwrap();
        assert!((linear[1] - 0.025).abs() < 1e-15);
        let both = rope(r#"{"type": "linear", "rope_type": "linear", "factor": 4.0}"#);
        assert_eq!(both.frequencies(4, 100.0).unwrap(), linear);
    }

    /// High frequencies stay, low ones are divided, and those between are in between.
    #[test]
    fn llama3_scales_by_bands() {
        let plain = Rope::default().frequencies(64, 5e5).unwrap();
        let json = r#"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}"#;
        let scaled = rope(json).frequencies(64, 5e5).unwrap();
        let shares: Vec<f64> = scaled.iter().zip(&plain).map(|(s, p)| s / p).collect();
        assert_eq!(shares[0], 1.0);
        assert!((shares[31] - 0.125).abs() < 1e-15);
        assert!(shares.windows(2).all(|pair| pair[0] >= pair[1]));
        assert!(shares.iter().any(|&share| share > 0.13 && share < 0.99), "{shares:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (json, expected) in [
            (r#"{"rope_type": "yarn"}"#, "`rope_type` = yarn is not supported"),
            (r#"{"rope_type": "linear"}"#, "`factor` is missing"),
            (r#"{"rope_theta": -1.0}"#, "`rope_theta` is -1, but must be above 0"),
            (r#"{"partial_rotary_factor": 0.5}"#, "`partial_rotary_factor` = 0.5"),
            (r#"{"full_attention": {"rope_theta": 1e6}}"#, "`full_attention` = {"),
            (r#"{"interleaved": true}"#, "`interleaved` = true"),
        ] {
            let error = rope(json).frequencies(8, 1e4).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
