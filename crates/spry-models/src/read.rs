//! The small files of a model: read whole, through the guard, as text.

use std::path::Path;

use spry_data::guard;

use crate::Result;

/// The longest configuration that is read; real ones have a few kilobytes.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The text of a configuration.
///
/// # Errors
///
/// [`Error::Data`](crate::Error::Data) if it cannot be read, is too long, or has yet to be fetched
/// by Git LFS.
pub(crate) fn text(path: &Path) -> Result<String> {
    Ok(guard::read_text(path, MAX_CONFIG_BYTES)?)
}
