//! Numbers as people read them.

/// Bytes in a mebibyte.
pub const MEBIBYTE: f64 = (1 << 20) as f64;

/// A share in percent, or a dash.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_string(), |share| format!("{:.1} %", 100.0 * share))
}

/// A size in MiB, without the unit.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / MEBIBYTE)
}
