//! Several runs side by side: a table, plots, and one page that has both.
//!
//! Numbers come from the runs' summaries and rows, which have checksums, and not from the Parquet
//! files.

mod search;

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::Value;
use spry_data::files::write_atomically;

use crate::plots::LinePlot;
use crate::run::records::{Records, RoundRow, curve, running_total};
use crate::run::{RunFolder, SavedSummary, Summary};
use crate::text::{MEBIBYTE, cell, label, mebibytes, path_text, percent, printable};
use crate::{Error, Result, RunConfig};

/// Runs that are compared.
pub struct Comparison {
    runs: Vec<ComparedRun>,
    left_out: Vec<LeftOutRun>,
}

/// A run that was found in a folder, but has nothing to compare.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOutRun {
    /// Its folder.
    #[serde(serialize_with = "crate::text::serialize_path")]
    pub folder: PathBuf,
    /// Why it was left out.
    pub reason: String,
}

/// One of them.
struct ComparedRun {
    label: String,
    folder: PathBuf,
    summary: Summary,
    rounds: Vec<RoundRow>,
    /// Seconds of work until the end of each round, by round.
    seconds: Vec<(f64, f64)>,
}

/// A run's line in the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How the run is called here: by what tells it from the others.
    pub run: String,
    /// Its folder.
    #[serde(serialize_with = "crate::text::serialize_path")]
    pub folder: PathBuf,
    /// Its outcome.
    #[serde(flatten)]
    pub summary: Summary,
}

impl ComparedRun {
    /// The run in a folder as of its summary, with its configuration.
    fn read(path: &Path) -> Result<(Self, RunConfig)> {
        let folder = RunFolder::look(path)?;
        if !folder.summary().is_file() {
            return Err(Error::Input(format!(
                "{} has no results yet; they come with the first checkpoint",
                path.display()
            )));
        }
        let saved = SavedSummary::read(&folder)?;
        let config = saved.config()?;
        let Records { rounds, costs, .. } = saved.records(&folder)?;
        let mut sum = 0.0;
        let seconds = costs.iter().map(|row| {
            sum += row.wall_secs;
            (row.server_round as f64, sum)
        });
        let run = Self {
            label: String::new(),
            folder: path.to_path_buf(),
            summary: saved.summary,
            seconds: seconds.collect(),
            rounds,
        };
        Ok((run, config))
    }
}

impl Comparison {
    /// Reads the runs in these folders; a folder that has no run but folders with runs, as a sweep
    /// has, stands for these. Of these, runs without any results yet, and damaged ones, are
    /// [left out](Self::left_out).
    ///
    /// # Errors
    ///
    /// If a folder has no run, or a run that is named itself cannot be read, or no run can.
    pub fn read(folders: &[PathBuf]) -> Result<Self> {
        let (mut runs, mut configs, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        let mut first_error = None;
        for folder in folders {
            let search::Found { runs: below, unread, .. } = search::runs_below(folder);
            left_out
                .extend(unread.into_iter().map(|(folder, reason)| LeftOutRun { folder, reason }));
            let is_named = below.is_empty() || below == [folder.clone()];
            let paths = if below.is_empty() { vec![folder.clone()] } else { below };
            for path in paths {
                match ComparedRun::read(&path) {
                    Ok((run, config)) => {
                        runs.push(run);
                        configs.push(config);
                    }
                    Err(error) if is_named => return Err(error),
                    Err(error) => {
                        left_out.push(LeftOutRun { folder: path, reason: error.line() });
                        first_error.get_or_insert(error);
                    }
                }
            }
        }
        if let Some(error) = first_error.filter(|_| runs.is_empty()) {
            return Err(error);
        }
        for (run, label) in runs.iter_mut().zip(labels(&configs)) {
            run.label = label;
        }
        Ok(Self { runs, left_out })
    }

    /// Runs that were found, but have nothing to compare.
    pub fn left_out(&self) -> &[LeftOutRun] {
        &self.left_out
    }

    /// The lines of the table.
    pub fn rows(&self) -> Vec<Row> {
        let row = |run: &ComparedRun| Row {
            run: run.label.clone(),
            folder: run.folder.clone(),
            summary: run.summary.clone(),
        };
        self.runs.iter().map(row).collect()
    }

    /// The table as text, in Markdown.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(self.columns().map(|column| column.0));
        for row in self.rows() {
            table.add_row(self.columns().map(|(_, value)| cell(&value(&row))));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    /// Accuracy against rounds, seconds, bytes and forward passes, and loss against rounds, each
    /// with the name of its file.
    ///
    /// # Errors
    ///
    /// If one cannot be drawn.
    pub fn plots(&self) -> Result<Vec<(&'static str, String)>> {
        type X<'a> = dyn Fn(&ComparedRun) -> Vec<(f64, f64)> + 'a;
        let total = |scale: f64, value: fn(&RoundRow) -> u64| {
            move |run: &ComparedRun| {
                let points = running_total(&run.rounds, value).into_iter();
                points.map(|(round, x)| (round, scale * x)).collect::<Vec<_>>()
            }
        };
        let rounds = |run: &ComparedRun| curve(&run.rounds, |row| Some(row.server_round as f64));
        let accuracy = |title: &str, x_label: &str, x: &X| {
            let of_run = |run: &ComparedRun| {
                let accuracy = |row: &RoundRow| row.generalized_accuracy.map(|a| 100.0 * a);
                (run.label.clone(), against(&curve(&run.rounds, accuracy), &x(run)))
            };
            LinePlot {
                title: title.to_string(),
                x_label: x_label.to_string(),
                y_label: "generalised accuracy (%)".to_string(),
                curves: self.runs.iter().map(of_run).collect(),
                ..Default::default()
            }
        };
        let f1 = LinePlot {
            title: "F1 against rounds".to_string(),
            x_label: "server round".to_string(),
            y_label: "generalised F1 (%)".to_string(),
            curves: self
                .runs
                .iter()
                .map(|run| {
                    let f1 = |row: &RoundRow| row.generalized_f1.map(|f1| 100.0 * f1);
                    (run.label.clone(), curve(&run.rounds, f1))
                })
                .filter(|(_, points)| !points.is_empty())
                .collect(),
            ..Default::default()
        };
        let loss = LinePlot {
            title: "Test loss against rounds".to_string(),
            x_label: "server round".to_string(),
            y_label: "generalised loss".to_string(),
            curves: self
                .runs
                .iter()
                .map(|run| (run.label.clone(), curve(&run.rounds, |row| row.generalized_loss)))
                .collect(),
            ..Default::default()
        };
        let plots = [
            ("accuracy-rounds", accuracy("Accuracy against rounds", "server round", &rounds)),
            (
                "accuracy-seconds",
                accuracy(
                    "Accuracy against time",
                    "seconds in rounds, without evaluations",
                    &|run| run.seconds.clone(),
                ),
            ),
            (
                "accuracy-bytes",
                accuracy(
                    "Accuracy against communication",
                    "MiB sent both ways",
                    &total(1.0 / MEBIBYTE, |row| row.bytes_up + row.bytes_down),
                ),
            ),
            (
                "accuracy-bytes-up",
                accuracy(
                    "Accuracy against upload",
                    "MiB sent by clients",
                    &total(1.0 / MEBIBYTE, |row| row.bytes_up),
                ),
            ),
            (
                "accuracy-forward-passes",
                accuracy(
                    "Accuracy against work",
                    "thousand forward passes",
                    &total(1e-3, |row| row.forward_passes),
                ),
            ),
            ("f1-rounds", f1),
            ("loss-rounds", loss),
        ];
        plots
            .into_iter()
            .filter_map(|(name, plot)| {
                plot.to_svg().transpose().map(|svg| svg.map(|svg| (name, svg)))
            })
            .collect()
    }

    /// Writes the plots as SVG, and `comparison.html` with table and plots, which needs nothing
    /// else to be looked at. Returns the page's path.
    ///
    /// # Errors
    ///
    /// If a file cannot be drawn or written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let plots = self.plots()?;
        for (name, svg) in &plots {
            write_atomically(&folder.join(format!("{name}.svg")), svg.as_bytes())?;
        }
        let path = folder.join("comparison.html");
        write_atomically(&path, self.page(&plots)?.as_bytes())?;
        Ok(path)
    }

    /// The columns of the table.
    fn columns(&self) -> impl Iterator<Item = &'static Column> {
        let has_f1 = self.rows().iter().any(|row| row.summary.generalized_f1.is_some());
        COLUMNS.iter().filter(move |(name, _)| has_f1 || *name != F1)
    }

    fn page(&self, plots: &[(&str, String)]) -> Result<String> {
        let broken = |error: minijinja::Error| Error::Failed(format!("comparison.html: {error}"));
        let mut environment = minijinja::Environment::new();
        // A name that ends in .html turns on escaping.
        environment.add_template("page.html", include_str!("page.html")).map_err(broken)?;
        let lines: Vec<Vec<String>> = self
            .rows()
            .iter()
            .map(|row| self.columns().map(|(_, value)| label(&value(row))).collect())
            .collect();
        let header: Vec<&'static str> = self.columns().map(|column| column.0).collect();
        let svgs: Vec<String> = plots.iter().map(|(_, svg)| svg.clone()).collect();
        let folders: Vec<(String, String)> = self
            .runs
            .iter()
            .map(|run| (label(&run.label), printable(&path_text(&run.folder)).into_owned()))
            .collect();
        let context = minijinja::context! {
            header, lines, plots => svgs, folders, version => env!("CARGO_PKG_VERSION"),
        };
        environment.get_template("page.html").and_then(|page| page.render(context)).map_err(broken)
    }
}

/// The column that only question answering has.
const F1: &str = "F1";

/// A column's name, and its text for a run.
type Column = (&'static str, fn(&Row) -> String);

const COLUMNS: &[Column] = &[
    ("run", |row| row.run.clone()),
    ("rounds", |row| row.summary.rounds_and_state()),
    ("accuracy", |row| row.summary.tested(percent(row.summary.generalized_accuracy))),
    (F1, |row| row.summary.tested(percent(row.summary.generalized_f1))),
    ("best", |row| row.summary.tested(percent(row.summary.best_generalized_accuracy))),
    ("personalised", |row| percent(row.summary.personalized_accuracy)),
    ("loss", |row| {
        let loss = row.summary.generalized_loss.map(|loss| format!("{loss:.4}"));
        row.summary.tested(loss.unwrap_or("-".to_string()))
    }),
    ("forward passes", |row| row.summary.forward_passes.to_string()),
    ("MiB up", |row| mebibytes(row.summary.bytes_up)),
    ("MiB down", |row| mebibytes(row.summary.bytes_down)),
    ("peak MiB", |row| row.summary.peak_client_bytes.map_or("-".into(), mebibytes)),
    ("total seconds", |row| format!("{:.1}", row.summary.wall_secs)),
    ("converged", |row| row.summary.rounds_to_converge.map_or("-".into(), |r| r.to_string())),
];

/// The points `(x of the round, y)` of a curve over rounds.
fn against(points: &[(f64, f64)], x: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let x_of = |round: f64| x.iter().find(|(of, _)| *of == round).map(|(_, x)| *x);
    points.iter().filter_map(|&(round, y)| Some((x_of(round)?, y))).collect()
}

/// A name for each run: its method, with whatever else tells the runs apart.
fn labels(configs: &[RunConfig]) -> Vec<String> {
    let differs = |value: &dyn Fn(&RunConfig) -> String| {
        configs.iter().any(|config| value(config) != value(&configs[0]))
    };
    let parts: [&dyn Fn(&RunConfig) -> String; 4] = [
        &|config| config.dataset.short_name(),
        &|config| config.model.short_name().to_string(),
        &|config| config.experiment.clone(),
        &|config| format!("seed {}", config.seed),
    ];
    let mut labels: Vec<String> = configs
        .iter()
        .map(|config| {
            let mut label = config.method.name.clone();
            for value in parts.iter().filter(|value| differs(value)) {
                let value = value(config);
                // The label begins with the method; the name of a sweep's cell may have it, too.
                let words = value.split(',').filter(|word| !word.starts_with("method="));
                label = words.fold(label, |label, word| format!("{label}, {word}"));
            }
            label
        })
        .collect();
    // Runs of the same label are told apart by the options in which they differ, else by a number.
    let all = labels.clone();
    let flat: Vec<_> = configs.iter().map(RunConfig::flat).collect();
    for (index, label) in labels.iter_mut().enumerate() {
        let same: Vec<_> = (0..all.len()).filter(|other| all[*other] == all[index]).collect();
        let differs = |key: &str, value: &Value| {
            !is_elsewhere(key) && same.iter().any(|other| flat[*other].get(key) != Some(value))
        };
        for (key, value) in flat[index].iter().filter(|(key, value)| differs(key, value)) {
            let name = key.rsplit('.').next().unwrap_or(key);
            let value = value.as_str().map_or(value.to_string(), str::to_string);
            *label = format!("{label}, {name}={value}");
        }
    }
    let all = labels.clone();
    for (index, label) in labels.iter_mut().enumerate() {
        let same = |other: &&String| **other == all[index];
        if all.iter().filter(same).count() > 1 {
            let number = 1 + all[..index].iter().filter(same).count();
            *label = format!("{label} ({number})");
        }
    }
    labels
}

/// Whether a label has an option already, or results do not depend on it.
fn is_elsewhere(key: &str) -> bool {
    let parts = ["dataset.name", "dataset.source", "model.name_or_path", "experiment", "seed"];
    parts.contains(&key)
        || ["jobs", "prefix_cache_bytes", "device", "checkpoint_every"].contains(&key)
}
