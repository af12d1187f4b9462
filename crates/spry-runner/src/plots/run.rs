//! The pictures of one run.

use std::path::Path;

use spry_data::files::write_atomically;

use super::LinePlot;
use crate::Result;
use crate::run::records::{Records, RoundRow, curve, running_total};
use crate::text::MEBIBYTE;

/// Writes `loss.svg`, `accuracy.svg`, `bytes.svg`, `memory.svg` and `time.svg` into a folder; a
/// picture without anything to show is not written.
///
/// # Errors
///
/// If one cannot be drawn or written.
pub fn write(folder: &Path, records: &Records) -> Result<()> {
    for (name, plot) in plots(records) {
        if let Some(svg) = plot.to_svg()? {
            write_atomically(&folder.join(format!("{name}.svg")), svg.as_bytes())?;
        }
    }
    Ok(())
}

fn plots(records: &Records) -> [(&'static str, LinePlot); 5] {
    let scaled = |name: &str, scale: f64, value: fn(&RoundRow) -> Option<f64>| {
        (name.to_string(), curve(&records.rounds, |row| value(row).map(|value| scale * value)))
    };
    let plot = |title: &str, y_label: &str, curves: Vec<(String, Vec<(f64, f64)>)>| LinePlot {
        title: title.to_string(),
        x_label: "server round".to_string(),
        y_label: y_label.to_string(),
        curves,
        ..Default::default()
    };
    let amount = |title: &str, y_label: &str, curves| LinePlot {
        from_zero: true,
        ..plot(title, y_label, curves)
    };
    let total = |value: fn(&RoundRow) -> u64| {
        let points = running_total(&records.rounds, value).into_iter();
        points.map(|(round, bytes)| (round, bytes / MEBIBYTE)).collect::<Vec<_>>()
    };
    let rounds = || records.costs.iter().filter(|row| row.server_round > 0);
    let mebibytes = |bytes: u64| bytes as f64 / MEBIBYTE;
    let peaks = rounds()
        .filter_map(|row| Some((row.server_round as f64, mebibytes(row.peak_bytes?))))
        .collect();
    let seconds = rounds().map(|row| (row.server_round as f64, row.wall_secs)).collect();
    let loss = vec![
        scaled("training", 1.0, |row| row.train_loss),
        scaled("test, global parameters", 1.0, |row| row.generalized_loss),
        scaled("own test part, locally trained", 1.0, |row| row.personalized_loss),
    ];
    let mut accuracy = vec![
        scaled("generalised: global parameters", 100.0, |row| row.generalized_accuracy),
        scaled("personalised: locally trained", 100.0, |row| row.personalized_accuracy),
        scaled("own test part, as received", 100.0, |row| row.received_accuracy),
    ];
    let has_f1 = records.rounds.iter().any(|row| row.generalized_f1.is_some());
    if has_f1 {
        accuracy.push(scaled("F1, global parameters", 100.0, |row| row.generalized_f1));
        accuracy.push(scaled("F1, locally trained", 100.0, |row| row.personalized_f1));
    }
    // Of answers, the accuracy is the share of exact matches.
    let (title, label) = match has_f1 {
        true => ("Exact match and F1", "exact match, F1 (%)"),
        false => ("Accuracy", "accuracy (%)"),
    };
    let bytes = vec![
        ("sent by clients".to_string(), total(|row| row.bytes_up)),
        ("sent by the server".to_string(), total(|row| row.bytes_down)),
    ];
    [
        ("loss", plot("Loss", "cross entropy", loss)),
        ("accuracy", LinePlot { y_range: Some((0.0, 100.0)), ..plot(title, label, accuracy) }),
        ("bytes", amount("Communication", "MiB since the start", bytes)),
        (
            "memory",
            amount(
                "Peak memory of a client above the weights",
                "MiB",
                vec![("largest of the cohort".to_string(), peaks)],
            ),
        ),
        (
            "time",
            amount(
                "Time of a round",
                "seconds",
                vec![("clients and aggregation".to_string(), seconds)],
            ),
        ),
    ]
}
