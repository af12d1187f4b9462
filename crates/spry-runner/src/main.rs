//! `spry`: runs, resumes, compares, sweeps, profiles, verifies and exports.
//!
//! Results go to standard output, everything else to standard error. The exit code is 0, or 1 if
//! something failed, 2 for bad input, 130 after an interruption.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use cli::args::Cli;
use serde_json::json;
use spry_runner::Error;
use spry_runner::error::{BAD_INPUT, INTERRUPTED};

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
        print(&json.to_string());
    } else {
        print(&text);
        if let Some(message) = &message {
            // To be interrupted is no error, but what was asked for.
            let word = if code == INTERRUPTED { "" } else { "error: " };
            eprintln!("{word}{message}");
        }
    }
    ExitCode::from(code)
}

/// Prints a result; a reader that has gone away, as with `spry presets | head`, is no failure.
fn print(text: &str) {
    use std::io::Write;
    if !text.is_empty() {
        let _ = writeln!(std::io::stdout(), "{text}");
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
    let text = error.render().to_string();
    let message = text.split("\nUsage:").next().unwrap_or(&text);
    let message = message.split("\n\nFor more information").next().unwrap_or(message);
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // What cannot be parsed may still say in which form it wants to be told.
    let arguments: Vec<String> = std::env::args().collect();
    let asks = |pair: &[String]| pair[0] == "--format" && pair[1] == "json";
    let is_for_machines = arguments.windows(2).any(asks)
        || arguments.iter().any(|argument| argument == "--format=json" || argument == "--json");
    match is_for_machines {
        true => print(
            &json!({"error": message.trim_start_matches("error: "), "exit_code": BAD_INPUT})
                .to_string(),
        ),
        false => eprintln!("{message}"),
    }
    ExitCode::from(BAD_INPUT)
}
