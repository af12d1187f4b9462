//! As much of a long text as its first tokens need.
//!
//! Texts are cut to a number of tokens. Tokenising one of megabytes for its first hundred tokens
//! takes minutes and gigabytes, so that it is cut to a beginning first, which gives the same tokens.

use tokenizers::Tokenizer;

/// Bytes of the beginning that is tried first: more than most texts have.
const FIRST: usize = 1 << 16;

/// How many bytes that is for each token that is wanted.
const PER_TOKEN: usize = 32;

/// Tokens near the cut, which may be others than those of the whole text. They are not wanted.
const MARGIN: usize = 64;

/// The beginning of a text that has the first `wanted` tokens, or the whole text.
///
/// `plain` neither truncates nor adds special tokens. A beginning ends before white space, where
/// words end, and has twice the tokens that are wanted: a tokenizer looks no further than a word or
/// an added token to either side.
pub(super) fn beginning<'a>(
    plain: &Tokenizer,
    text: &'a str,
    wanted: usize,
) -> tokenizers::Result<&'a str> {
    let mut bytes = FIRST.max(wanted.saturating_mul(PER_TOKEN));
    while text.len() / 2 > bytes {
        let Some(end) = next_space(text, bytes) else { break };
        if end > text.len() / 2 {
            break;
        }
        let tokens = plain.encode_fast(&text[..end], false)?.len();
        if tokens >= wanted.saturating_mul(2).saturating_add(MARGIN) {
            return Ok(&text[..end]);
        }
        bytes = end.saturating_mul(4);
    }
    Ok(text)
}

/// Where the first white space at or after a byte begins.
fn next_space(text: &str, from: usize) -> Option<usize> {
    let from = (from..text.len()).find(|&byte| text.is_char_boundary(byte))?;
    text[from..].find(char::is_whitespace).map(|found| from + found)
}
