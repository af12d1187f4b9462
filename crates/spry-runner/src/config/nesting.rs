//! How deep a TOML text nests, before it is parsed.
//!
//! The parser, the table that it makes, and letting go of that table all recurse, and its own limits
//! for keys and brackets multiply. So the tokens are looked at first.

use spry_strategies::options::MAX_DEPTH;
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::{Error, Result};

/// Fails for a key of more than [`MAX_DEPTH`] parts, or brackets inside of more than so many
/// others: no option is nested as deep.
///
/// # Errors
///
/// [`Error::Input`] with the line.
pub(super) fn check(text: &str) -> Result<()> {
    let (mut parts, mut brackets) = (1, 0_usize);
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => parts += 1,
            // A part of a key, or what may stand beside one.
            TokenKind::Atom
            | TokenKind::BasicString
            | TokenKind::LiteralString
            | TokenKind::MlBasicString
            | TokenKind::MlLiteralString
            | TokenKind::Whitespace => {}
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                (parts, brackets) = (1, brackets + 1);
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                (parts, brackets) = (1, brackets.saturating_sub(1));
            }
            _ => parts = 1,
        }
        if parts > MAX_DEPTH || brackets > MAX_DEPTH {
            let start = token.span().start();
            let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
            return Err(Error::Input(format!(
                "line {line}: this is nested more than {MAX_DEPTH} levels deep, but no option is"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_configurations_have_is_fine() {
        let whole = crate::RunConfig::default().to_toml().unwrap();
        let long = format!("labels = [{}]", "\"a.b.c\", 0.5, ".repeat(10_000));
        let prose = format!("# {}\na = \"{}\"", "a.".repeat(100), "[{.".repeat(100));
        for text in [whole.as_str(), "", &long, &prose, "a = '''\n[[[[.'''", "]]]]"] {
            check(text).unwrap();
        }
    }

    #[test]
    fn deep_nesting_is_an_error_with_its_line() {
        let parts = "a.".repeat(MAX_DEPTH);
        let brackets = |open: &str| format!("seed = 1\na = {}", open.repeat(MAX_DEPTH + 1));
        for text in [
            format!("seed = 1\n{parts}a = 1"),
            format!("seed = 1\n[{parts}a]"),
            format!("seed = 1\n'a' . {parts}a = 1"),
            format!("seed = 1\nb = {{{parts}a = 1}}"),
            brackets("["),
            brackets("{a = "),
        ] {
            let message = check(&text).unwrap_err().to_string();
            assert!(message.starts_with("line 2: "), "{text}: {message}");
        }
    }
}
