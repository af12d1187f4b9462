//! `spry`: runs, resumes, compares, sweeps, profiles, verifies and exports.
//!
//! Results go to standard output, everything else to standard error. The exit code is 0, or 1 if
//! something failed, 2 for bad input, 130 after an interruption.

mod cli;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind as Misuse;
use cli::args::Cli;
use serde_json::json;
use spry_runner::error::{BAD_INPUT, FAILED, INTERRUPTED};
use spry_runner::{Error, terminal, text};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let is_for_machines = cli.is_for_machines();
    let (text, mut json, failure) = match cli::execute(cli) {
        Ok(output) => (output.text, output.json, output.failure),
        Err(error) => (String::new(), json!({}), Some(error)),
    };
    let code = failure.as_ref().map_or(0, Error::exit_code);
    let message = failure.map(|error| error.line());
    if is_for_machines {
        if let Some(message) = &message {
            json["error"] = json!(message);
            json["exit_code"] = json!(code);
        }
        return print(&text::json(&json), code);
    }
    let code = print(&text, code);
    if let Some(message) = &message {
        // To be interrupted is no error, but what was asked for.
        let word = if code == ExitCode::from(INTERRUPTED) { "" } else { "error: " };
        terminal::print_error(&format!("{word}{message}"));
    }
    code
}

/// Prints a result and returns the exit code: the given one, or if that is 0 and the result cannot
/// be printed, that of a failure. A reader that has gone away, as with `spry presets | head`, is
/// none.
fn print(text: &str, code: u8) -> ExitCode {
    if text.is_empty() {
        return ExitCode::from(code);
    }
    printed(terminal::print(text), code)
}

/// The exit code after a result was printed, or not.
fn printed(result: std::io::Result<()>, code: u8) -> ExitCode {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            terminal::print_error(&format!("error: the result cannot be printed: {error}"));
            ExitCode::from(if code == 0 { FAILED } else { code })
        }
        _ => ExitCode::from(code),
    }
}

/// A command line that clap cannot read: its message in one line. Help is no mistake.
fn misused(error: &clap::Error) -> ExitCode {
    let is_help = matches!(error.kind(), Misuse::DisplayHelp | Misuse::DisplayVersion);
    if is_help || error.kind() == Misuse::DisplayHelpOnMissingArgumentOrSubcommand {
        return printed(error.print(), if is_help { 0 } else { BAD_INPUT });
    }
    let rendered = error.render().to_string();
    let message = rendered.split("\nUsage:").next().unwrap_or(&rendered);
    let message = message.split("\n\nFor more information").next().unwrap_or(message);
    let message = text::message(message);
    // What cannot be parsed may still say in which form it wants to be told.
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let asks = |pair: &[OsString]| pair[0] == "--format" && pair[1] == "json";
    let is_for_machines = arguments.windows(2).any(asks)
        || arguments.iter().any(|argument| argument == "--format=json" || argument == "--json");
    if is_for_machines {
        let message = message.trim_start_matches("error: ");
        return print(&text::json(&json!({"error": message, "exit_code": BAD_INPUT})), BAD_INPUT);
    }
    terminal::print_error(&message);
    ExitCode::from(BAD_INPUT)
}
