//! A grid of runs, with several seeds in each cell.

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use spry_data::files::write_atomically;

use crate::compare::percent;
use crate::run::{RunFolder, Summary};
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
    runs: Vec<(RunConfig, PathBuf)>,
}

/// What has to be done for a run of a sweep.
#[derive(Debug, PartialEq)]
pub enum Todo {
    /// To begin it.
    Begin(Box<RunConfig>, PathBuf),
    /// To go on with it.
    Resume(PathBuf),
    /// Nothing: it has ended.
    Nothing(PathBuf),
}

/// A cell's outcome over its seeds.
#[derive(Clone, Debug, Serialize)]
pub struct CellResult {
    /// The options that make the cell, such as `method.estimator.k=4`.
    pub options: Vec<String>,
    /// Folders of its runs.
    pub runs: Vec<PathBuf>,
    /// Generalised accuracy.
    pub accuracy: Option<Statistic>,
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

impl Sweep {
    /// All combinations of the grid's values, each a text such as `seed=0` or
    /// `method.estimator.k=1,4,16`, for all seeds. Every run is checked before the first begins.
    ///
    /// # Errors
    ///
    /// If the grid cannot be read, or a combination cannot be used; the message names it.
    pub fn new(base: &RunConfig, grid: &[String], seeds: &[u64], folder: &Path) -> Result<Self> {
        let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
        for axis in grid {
            let Some((key, values)) = axis.split_once('=').filter(|(_, values)| !values.is_empty())
            else {
                return Err(Error::Input(format!(
                    "--grid {axis}: must be of the form key=value,value, such as \
                     method.estimator.k=1,4"
                )));
            };
            let values: Vec<&str> = values.split(',').map(str::trim).collect();
            combinations = combinations
                .into_iter()
                .flat_map(|options| {
                    values.iter().map(move |value| {
                        let mut options = options.clone();
                        options.push(format!("{key}={value}"));
                        options
                    })
                })
                .collect();
        }
        let cell = |options: Vec<String>| -> Result<Cell> {
            let name = cell_name(&options);
            let failed = |error: Error| Error::Input(format!("{name}: {}", error.line()));
            let config = base.with_assignments(&options).map_err(failed)?;
            config.validate().map_err(failed)?;
            let run = |seed: &u64| -> Result<(RunConfig, PathBuf)> {
                let mut config = config.clone();
                (config.seed, config.experiment) = (*seed, name.clone());
                let folder = folder.join(&name).join(format!("seed-{seed}"));
                Ok((config.with_absolute_paths()?, folder))
            };
            let runs = seeds.iter().map(run).collect::<Result<_>>()?;
            Ok(Cell { name: name.clone(), options, runs })
        };
        let cells: Vec<Cell> = combinations.into_iter().map(cell).collect::<Result<_>>()?;
        let mut names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Input(format!("the grid has the combination {} twice", pair[0])));
        }
        Ok(Self { folder: folder.to_path_buf(), cells })
    }

    /// What is left to do, in order. A folder that has a run with another configuration is an
    /// error: its results would be taken for this sweep's.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for such a folder, or if it cannot be read.
    pub fn todo(&self) -> Result<Vec<Todo>> {
        let runs = self.cells.iter().flat_map(|cell| &cell.runs);
        runs.map(|(config, path)| {
            if !path.join("config.toml").is_file() {
                return Ok(Todo::Begin(Box::new(config.clone()), path.clone()));
            }
            let folder = RunFolder::look(path)?;
            let there = RunConfig { jobs: config.jobs, ..folder.read_config()? };
            if there != *config {
                return Err(Error::Input(format!(
                    "{} has a run with another configuration; choose another folder with --out",
                    path.display()
                )));
            }
            let summary = folder.summary();
            let is_finished = summary.is_file() && Summary::read(&summary)?.finished;
            Ok(if is_finished { Todo::Nothing(path.clone()) } else { Todo::Resume(path.clone()) })
        })
        .collect()
    }

    /// The cells' outcomes, over the runs that have ended.
    ///
    /// # Errors
    ///
    /// If a summary cannot be read.
    pub fn results(&self) -> Result<Vec<CellResult>> {
        let result = |cell: &Cell| -> Result<CellResult> {
            let mut summaries = Vec::new();
            for (_, folder) in &cell.runs {
                let path = folder.join("summary.json");
                if path.is_file() {
                    summaries.push(Summary::read(&path)?);
                }
            }
            summaries.retain(|summary| summary.finished);
            let statistic = |value: fn(&Summary) -> Option<f64>| {
                Statistic::of(&summaries.iter().filter_map(value).collect::<Vec<f64>>())
            };
            Ok(CellResult {
                options: cell.options.clone(),
                runs: cell.runs.iter().map(|(_, folder)| folder.clone()).collect(),
                accuracy: statistic(|summary| summary.generalized_accuracy),
                loss: statistic(|summary| summary.generalized_loss),
                personalized_accuracy: statistic(|summary| summary.personalized_accuracy),
                wall_secs: statistic(|summary| Some(summary.wall_secs)),
            })
        };
        self.cells.iter().map(result).collect()
    }

    /// Writes `sweep.json` with the outcomes into the sweep's folder; returns its path.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, results: &[CellResult]) -> Result<PathBuf> {
        let path = self.folder.join("sweep.json");
        let json = serde_json::to_string_pretty(results).map_err(spry_core::Error::objective)?;
        write_atomically(&path, (json + "\n").as_bytes())?;
        Ok(path)
    }
}

/// The outcomes as a table: mean ± standard deviation over seeds.
pub fn table(results: &[CellResult]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["cell", "seeds", "accuracy", "loss", "personalised", "seconds"]);
    for result in results {
        let text = |statistic: Option<Statistic>, scale, digits, unit| {
            statistic.map_or("-".to_string(), |statistic| statistic.text(scale, digits, unit))
        };
        table.add_row([
            cell_name(&result.options),
            format!("{}/{}", result.wall_secs.map_or(0, |s| s.seeds), result.runs.len()),
            text(result.accuracy, 100.0, 1, " %"),
            text(result.loss, 1.0, 4, ""),
            percent_text(result.personalized_accuracy),
            text(result.wall_secs, 1.0, 1, ""),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn percent_text(statistic: Option<Statistic>) -> String {
    statistic.map_or(percent(None), |statistic| statistic.text(100.0, 1, " %"))
}

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
        let text = format!("{key}={value}");
        let allowed = |c: char| if c.is_alphanumeric() || "=.+-_".contains(c) { c } else { '_' };
        text.chars().map(allowed).collect::<String>()
    };
    options.iter().map(short).collect::<Vec<_>>().join(",")
}
