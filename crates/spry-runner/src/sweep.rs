//! A grid of runs, with several seeds in each cell.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use spry_data::files::write_atomically;

use crate::run::{RunFolder, SavedSummary, Summary};
use crate::{Error, Result, RunConfig};

/// The runs of a sweep.
#[derive(Debug)]
pub struct Sweep {
    folder: PathBuf,
    cells: Vec<Cell>,
}

/// One combination of values.
#[derive(Debug)]
struct Cell {
    name: String,
    options: Vec<String>,
    runs: Vec<SweepRun>,
}

/// One run of a sweep.
#[derive(Debug)]
pub struct SweepRun {
    /// Its configuration.
    pub config: RunConfig,
    /// Its folder.
    pub folder: PathBuf,
}

/// What has to be done for a run of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo {
    /// To begin it.
    Begin,
    /// To go on with it.
    Resume,
    /// To leave it to another process, which works on it; its name, if known.
    Leave(Option<String>),
    /// Nothing: it has ended.
    Nothing,
}

/// A cell's outcome over its seeds.
#[derive(Clone, Debug, Serialize)]
pub struct CellResult {
    /// The options that make the cell, such as `method.estimator.k=4`.
    pub options: Vec<String>,
    /// Folders of its runs.
    #[serde(serialize_with = "crate::text::serialize_paths")]
    pub runs: Vec<PathBuf>,
    /// Number of its runs that have ended, with something to show.
    pub finished: usize,
    /// Number of its runs that have ended, but of which [nothing came](Summary::failure); they are
    /// not in the means.
    pub failed: usize,
    /// Generalised accuracy.
    pub accuracy: Option<Statistic>,
    /// Generalised F1, for question answering.
    pub f1: Option<Statistic>,
    /// Generalised loss.
    pub loss: Option<Statistic>,
    /// Personalised accuracy.
    pub personalized_accuracy: Option<Statistic>,
    /// Duration.
    pub wall_secs: Option<Statistic>,
}

/// Mean and spread of a number over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistic {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the sample (n − 1); none for a single seed.
    pub standard_deviation: Option<f64>,
    /// Number of seeds.
    pub seeds: usize,
}

impl Statistic {
    /// Of some values; `None` if there are none.
    ///
    /// ```
    /// use spry_runner::sweep::Statistic;
    ///
    /// let statistic = Statistic::of(&[1.0, 2.0, 3.0]).unwrap();
    /// assert_eq!((statistic.mean, statistic.standard_deviation), (2.0, Some(1.0)));
    /// ```
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { mean, standard_deviation, seeds: values.len() })
    }

    fn text(&self, scale: f64, digits: usize, unit: &str) -> String {
        let mean = scale * self.mean;
        let spread = self.standard_deviation.map(|deviation| scale * deviation);
        let spread = spread.map_or(String::new(), |spread| format!(" ± {spread:.digits$}"));
        format!("{mean:.digits$}{spread}{unit}")
    }
}

/// Options that tell runs of a sweep apart in other ways.
const NOT_IN_A_GRID: [(&str, &str); 2] =
    [("seed", "--seeds"), ("experiment", "nothing: it is the cell's name")];

impl Sweep {
    /// All combinations of the grid's values, each axis a text such as
    /// `method.estimator.k=1,4,16`, for all seeds, or if there are none for the configuration's.
    /// `options` are changed in every cell, together with the cell's own, so that they hold whatever
    /// the cell names. Every configuration is checked before the first run begins.
    ///
    /// # Errors
    ///
    /// If the grid cannot be read, or a combination cannot be used; the message names it.
    pub fn new(
        base: &RunConfig,
        options: &[String],
        grid: &[String],
        seeds: &[u64],
        folder: &Path,
    ) -> Result<Self> {
        let mut sorted = seeds.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Input(format!("--seeds has {} twice", pair[0])));
        }
        let mut cells = Vec::new();
        for own in combinations(grid)? {
            let name = cell_name(&own);
            let failed = |error: Error| Error::Input(format!("{name}: {}", error.line()));
            let all: Vec<&String> = options.iter().chain(&own).collect();
            let config = base.with_assignments(&all).map_err(failed)?;
            config.validate().map_err(failed)?;
            let run = |seed: &u64| -> Result<SweepRun> {
                let mut config = config.clone();
                (config.seed, config.experiment) = (*seed, name.clone());
                config.check_numbers()?;
                let folder = folder.join(&name).join(format!("seed-{seed}"));
                Ok(SweepRun { config: config.with_absolute_paths()?, folder })
            };
            let seeds = if seeds.is_empty() { &[config.seed] } else { seeds };
            let runs = seeds.iter().map(run).collect::<Result<_>>()?;
            cells.push(Cell { name, options: own, runs });
        }
        let mut names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Input(format!("the grid has the combination {} twice", pair[0])));
        }
        Ok(Self { folder: folder.to_path_buf(), cells })
    }

    /// All runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = &SweepRun> {
        self.cells.iter().flat_map(|cell| &cell.runs)
    }

    /// The cells' outcomes, over the runs that have ended. A summary that is damaged does not
    /// count: its run is [to be resumed](SweepRun::todo), which writes it anew.
    pub fn results(&self) -> Vec<CellResult> {
        let result = |cell: &Cell| {
            let summary = |run: &SweepRun| run.summary().ok().flatten();
            let mut summaries: Vec<Summary> = cell.runs.iter().filter_map(summary).collect();
            let failed = summaries.iter().filter(|summary| summary.failure.is_some()).count();
            summaries.retain(|summary| summary.finished);
            let statistic = |value: fn(&Summary) -> Option<f64>| {
                Statistic::of(&summaries.iter().filter_map(value).collect::<Vec<f64>>())
            };
            CellResult {
                options: cell.options.clone(),
                runs: cell.runs.iter().map(|run| run.folder.clone()).collect(),
                finished: summaries.len(),
                failed,
                accuracy: statistic(|summary| summary.generalized_accuracy),
                f1: statistic(|summary| summary.generalized_f1),
                loss: statistic(|summary| summary.generalized_loss),
                personalized_accuracy: statistic(|summary| summary.personalized_accuracy),
                wall_secs: statistic(|summary| Some(summary.wall_secs)),
            }
        };
        self.cells.iter().map(result).collect()
    }

    /// Writes `sweep.json` with the outcomes so far into the sweep's folder; returns them and its
    /// path. Of several processes that do so, the last one has the newest outcomes.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self) -> Result<(Vec<CellResult>, PathBuf)> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        let lock_path = self.folder.join(".lock");
        let lock = File::create(&lock_path).map_err(Error::io(&lock_path))?;
        // A file system without locks must not keep anyone from working.
        let _ = lock.lock();
        let results = self.results();
        let path = self.folder.join("sweep.json");
        let json = serde_json::to_string_pretty(&results).map_err(spry_core::Error::objective)?;
        write_atomically(&path, (json + "\n").as_bytes())?;
        Ok((results, path))
    }
}

impl SweepRun {
    /// What is to be done for the run now; other processes may work on the same sweep. A folder
    /// that has a run with another configuration is an error: its results would be taken for this
    /// sweep's.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for such a folder, or if it cannot be read.
    pub fn todo(&self) -> Result<Todo> {
        if let Err(Error::Busy { holder, .. }) = RunFolder::check_free(&self.folder) {
            return Ok(Todo::Leave(holder));
        }
        if !self.folder.join("config.toml").is_file() {
            return Ok(Todo::Begin);
        }
        let there = RunConfig {
            jobs: self.config.jobs,
            prefix_cache_bytes: self.config.prefix_cache_bytes,
            ..RunFolder::look(&self.folder)?.read_config()?
        };
        if there != self.config {
            return Err(Error::Input(format!(
                "{} has a run with another configuration; choose another folder with --out",
                self.folder.display()
            )));
        }
        let is_finished = match self.summary() {
            Ok(summary) => summary.is_some_and(|summary| summary.finished),
            // It is made anew from the checkpoint.
            Err(Error::Damaged { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(if is_finished { Todo::Nothing } else { Todo::Resume })
    }

    /// The run's outcome so far, if there is one.
    fn summary(&self) -> Result<Option<Summary>> {
        match RunFolder::look(&self.folder) {
            Ok(folder) if folder.summary().exists() => {
                Ok(Some(SavedSummary::read(&folder)?.summary))
            }
            _ => Ok(None),
        }
    }
}

/// The outcomes as a table: mean ± standard deviation over seeds.
pub fn table(results: &[CellResult]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    // Only question answering has it.
    let has_f1 = results.iter().any(|result| result.f1.is_some());
    let with_f1 = |mut row: Vec<String>, f1: String| {
        if has_f1 {
            row.insert(3, f1);
        }
        row
    };
    let header = ["cell", "seeds", "accuracy", "loss", "personalised", "seconds"];
    table.set_header(with_f1(header.map(str::to_string).to_vec(), "F1".to_string()));
    for result in results {
        let text = |statistic: Option<Statistic>, scale, digits, unit| {
            let Some(statistic) = statistic else { return "-".to_string() };
            let text = statistic.text(scale, digits, unit);
            // A run that diverged has no accuracy: the mean is that of the others.
            match statistic.seeds {
                seeds if seeds < result.finished => format!("{text} (of {seeds})"),
                _ => text,
            }
        };
        let row = vec![
            crate::text::cell(&cell_name(&result.options)),
            match result.failed {
                0 => format!("{}/{}", result.finished, result.runs.len()),
                failed => format!("{}/{} ({failed} failed)", result.finished, result.runs.len()),
            },
            text(result.accuracy, 100.0, 1, " %"),
            text(result.loss, 1.0, 4, ""),
            text(result.personalized_accuracy, 100.0, 1, " %"),
            text(result.wall_secs, 1.0, 1, ""),
        ];
        table.add_row(with_f1(row, text(result.f1, 100.0, 1, " %")));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Each combination of the axes' values, as options.
fn combinations(grid: &[String]) -> Result<Vec<Vec<String>>> {
    let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
    for axis in grid {
        let Some((key, values)) = axis.split_once('=').filter(|(_, values)| !values.is_empty())
        else {
            return Err(Error::Input(format!(
                "--grid {axis}: must be of the form key=value,value, such as \
                 method.estimator.k=1,4"
            )));
        };
        if let Some((_, instead)) = NOT_IN_A_GRID.iter().find(|(name, _)| *name == key.trim()) {
            return Err(Error::Input(format!("--grid {axis}: use {instead}")));
        }
        let values = split_list(values);
        let with = |options: Vec<String>| {
            let add = |value: &String| [&options[..], &[format!("{key}={value}")]].concat();
            values.iter().map(add).collect::<Vec<_>>()
        };
        combinations = combinations.into_iter().flat_map(with).collect();
    }
    Ok(combinations)
}

/// The parts between commas; a comma inside of brackets belongs to a list.
fn split_list(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in text.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        match (c, parts.last_mut()) {
            (',', _) if depth == 0 => parts.push(String::new()),
            (c, Some(part)) => part.push(c),
            (_, None) => {}
        }
    }
    parts.iter().map(|part| part.trim().to_string()).collect()
}

/// Longest readable name of a cell's folder, in bytes; file systems allow 255.
const LONGEST_NAME: usize = 180;

/// The options as the name of a folder: the last part of each key, with its value.
fn cell_name(options: &[String]) -> String {
    if options.is_empty() {
        return "all".to_string();
    }
    let short = |option: &String| {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let parts: Vec<&str> = key.rsplit('.').collect();
        // `method.name=spry` is said by `method=spry`.
        let key = match parts[..] {
            ["name", part, ..] => part,
            [part, ..] => part,
            [] => key,
        };
        format!("{key}={value}")
    };
    let name = options.iter().map(short).collect::<Vec<_>>().join(",");
    let allowed = |c: char| c.is_alphanumeric() || "=.,+-_".contains(c);
    if name.chars().all(allowed) && name.len() <= LONGEST_NAME {
        return name;
    }
    // What a folder's name cannot say is told apart by a hash.
    let mut readable: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    let end = (0..=LONGEST_NAME.min(readable.len())).rfind(|end| readable.is_char_boundary(*end));
    readable.truncate(end.unwrap_or(0));
    format!("{readable}-{}", &blake3::hash(options.join("\n").as_bytes()).to_hex()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_taken_apart() {
        let grid = ["a.k=1,2", r#"b.list=["x","y"],["z"]"#].map(str::to_string);
        let combinations = combinations(&grid).unwrap();
        assert_eq!(combinations.len(), 4);
        assert_eq!(combinations[0], ["a.k=1", r#"b.list=["x","y"]"#]);
        assert_eq!(combinations[3], ["a.k=2", r#"b.list=["z"]"#]);
        assert_eq!(super::combinations(&[]).unwrap(), vec![Vec::<String>::new()]);
    }

    #[test]
    fn cells_have_names_of_their_own() {
        let name = |option: &str| cell_name(&[option.to_string()]);
        assert_eq!(name("method.estimator.k=4"), "k=4");
        assert_eq!(name("method.name=fwdllm+"), "method=fwdllm+");
        assert_ne!(name("model.name_or_path=a/b"), name("model.name_or_path=a:b"));
        // Longer ones than a file system allows, which end in different ways, or inside of a letter.
        let long = |end: &str| name(&format!("dataset.name=a{}{end}", "é".repeat(200)));
        assert!(long("x").len() <= 200 && long("x").starts_with("dataset=aé"), "{}", long("x"));
        assert_ne!(long("x"), long("y"));
        assert_eq!(name(&format!("a.k={}", "1".repeat(178))).len(), 180);
    }
}
