//! `spry`: runs, resumes, compares, sweeps, profiles, verifies and exports.
//!
//! Results go to standard output, everything else to standard error. The exit code is 0, or 1 if
//! something failed, 2 for bad input, 130 after an interruption.

mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use cli::args::Cli;
use serde_json::json;
use spry_runner::error::{BAD_INPUT, INTERRUPTED};
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
        print(&text::json(&json));
    } else {
        print(&text);
        if let Some(message) = &message {
            // To be interrupted is no error, but what was asked for.
            let word = if code == INTERRUPTED { "" } else { "error: " };
            terminal::print_error(&format!("{word}{message}"));
        }
    }
    ExitCode::from(code)
}

/// Prints a result; a reader that has gone away, as with `spry presets | head`, is no failure.
fn print(text: &str) {
    if !text.is_empty() {
        let _ = terminal::print(text);
    }
}

/// A command line that clap cannot read: its message in one line. Help is no mistake.
fn misused(error: &clap::Error) -> ExitCode {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_help || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Where this cannot be printed, nothing can.
        let _ = error.print();
        return ExitCode::from(if is_help { 0 } else { BAD_INPUT });
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
    match is_for_machines {
        true => print(&text::json(
            &json!({"error": message.trim_start_matches("error: "), "exit_code": BAD_INPUT}),
        )),
        false => terminal::print_error(&message),
    }
    ExitCode::from(BAD_INPUT)
}
