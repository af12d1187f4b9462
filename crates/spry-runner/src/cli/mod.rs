//! The commands of `spry`: from arguments to calls of the library, and from results to text.
//!
//! - [`args`]: the command line.
//! - [`runs`]: `run`, `import`, `resume`, `sweep`, `compare`.
//! - [`checks`]: `partition`, `profile`, `verify`.

pub mod args;
mod checks;
mod runs;

use std::path::PathBuf;

use args::{Cli, Command};
use comfy_table::{Table, presets as styles};
use serde::Serialize;
use serde_json::json;
use spry_data::Hub;
use spry_runner::exchange::ExportOptions;
use spry_runner::text::{message, path_text};
use spry_runner::{Error, Result, exchange, presets, signals, terminal};

/// What a command has to say: as text for people, as JSON for machines.
pub struct Output {
    pub text: String,
    pub json: serde_json::Value,
    /// Why it failed, although it has something to say.
    pub failure: Option<Error>,
}

impl Output {
    fn new(text: impl Into<String>, json: impl Serialize) -> Result<Self> {
        let json = serde_json::to_value(json);
        let json = json.map_err(|error| Error::Failed(error.to_string()))?;
        Ok(Self { text: text.into(), json, failure: None })
    }
}

/// Does what the command line says.
pub fn execute(cli: Cli) -> Result<Output> {
    let is_for_machines = cli.is_for_machines();
    terminal::init(is_for_machines);
    signals::handle()?;
    let hub = Hub::from_env().with_offline(cli.offline);
    match cli.command {
        Command::Run(args) => runs::run(&args, &hub, is_for_machines),
        Command::Import(args) => runs::import(&args, &hub, is_for_machines),
        Command::Resume(args) => runs::resume(&args, &hub, is_for_machines),
        Command::Sweep(args) => runs::sweep(&args, &hub, is_for_machines),
        Command::Compare(args) => runs::compare(&args),
        Command::Presets { name } => list_presets(name.as_deref()),
        Command::Partition(args) => checks::partition(&args, &hub),
        Command::Profile(args) => checks::profile(&args),
        Command::Verify(args) => checks::verify(&args),
        Command::Export(args) => {
            let options = ExportOptions { best: args.best, with_base_model: args.with_base_model };
            let written = exchange::export(&args.run, &args.out, options, &hub)?;
            let line = |path: &PathBuf| message(&format!("written: {}", path.display()));
            let lines: Vec<String> = written.iter().map(line).collect();
            let written: Vec<String> = written.iter().map(|path| path_text(path)).collect();
            Output::new(lines.join("\n"), json!({"written": written}))
        }
    }
}

fn list_presets(name: Option<&str>) -> Result<Output> {
    if let Some(name) = name {
        let config = presets::find(name)?.config()?;
        return Output::new(config.to_toml()?.trim_end(), config);
    }
    let all = presets::all();
    let mut table = Table::new();
    table.load_style(styles::NOTHING);
    for preset in &all {
        table.add_row([&preset.name, &preset.summary]);
    }
    let entry = |preset: &presets::Preset| json!({"name": preset.name, "summary": preset.summary});
    Output::new(table.trim_fmt(), all.iter().map(entry).collect::<Vec<_>>())
}
