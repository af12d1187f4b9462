//! Names, labels and paths that would command a terminal, break a page or fill a screen: what
//! leaves the program is text that can be seen.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{SMALL, TEXT_AND_LABEL, spry, stderr, succeed, write_parquet};
use serde_json::Value;

/// A sequence that clears the screen, one that begins with C1, a direction override, a line
/// separator, nothing of no width, and what breaks tables, tags and lines.
const EVIL: &str = "a\u{1b}[2Jb\u{9b}31mc\u{202e}d\u{2028}e\u{200b}f\u{7f}g|h<script>i\nj\"&'k";

/// Fails if a text has a character that a terminal obeys or nobody sees.
fn check_clean(what: &str, text: &[u8]) {
    let text = String::from_utf8(text.to_vec()).unwrap_or_else(|_| panic!("{what} is not UTF-8"));
    let is_bad = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if let Some(bad) = text.chars().find(is_bad) {
        panic!("{what} has {bad:?}:\n{text:?}");
    }
}

fn check_output(what: &str, output: &Output) {
    check_clean(what, &output.stdout);
    check_clean(what, &output.stderr);
    assert!(!stderr(output).contains("panicked"), "{what}: {}", stderr(output));
}

/// A text as TOML, with every character as an escape.
fn toml_string(text: &str) -> String {
    let escapes: String = text.chars().map(|c| format!("\\U{:08x}", c as u32)).collect();
    format!("\"{escapes}\"")
}

/// A configuration whose labels, and everything else that has a name, are of that kind.
fn write_config(folder: &Path) {
    let texts: Vec<String> = (0..80).map(|n| format!("a text of number {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let labels: Vec<f64> = (0..80).map(|n| f64::from(n % 2)).collect();
    write_parquet(&folder.join("data/train.parquet"), TEXT_AND_LABEL, &texts, &labels);
    let name = toml_string(EVIL);
    let config = format!(
        "experiment = {name}\n[dataset]\nname = \"data\"\nnum_clients = 4\nlabels = [{name}, \"b\"]\n"
    );
    fs::write(folder.join("evil.toml"), config).unwrap();
}

#[test]
fn names_and_labels_are_text_wherever_they_go() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path());
    let run = |arguments: &[&str]| spry(folder.path()).args(arguments).output().unwrap();

    let output = run(&["partition", "evil.toml", "--plot", "plot.svg"]);
    assert!(output.status.success(), "{}", stderr(&output));
    check_output("partition", &output);
    let table = String::from_utf8(output.stdout).unwrap();
    let columns = |line: &str| line.replace(r"\|", "").matches('|').count();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 2 + 4 + 1, "{table}");
    assert!(rows.iter().all(|row| columns(row) == columns(rows[1])), "{table}");
    let svg = fs::read(folder.path().join("plot.svg")).unwrap();
    check_clean("plot.svg", &svg);
    assert!(!String::from_utf8(svg).unwrap().contains("<script"));

    // A machine gets the value itself.
    let output = run(&["partition", "evil.toml", "--format", "json"]);
    check_output("partition --format json", &output);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["classes"][0], EVIL);

    // Two runs that only these names tell apart.
    for (out, more) in [("one", "experiment=plain"), ("two", "seed=0")] {
        let small = SMALL.iter().map(|option| match *option {
            "dataset.max_examples=320" => "dataset.max_examples=80",
            "dataset.num_clients=8" => "dataset.num_clients=4",
            option => option,
        });
        let output = spry(folder.path())
            .args(["run", "evil.toml", "--out", out])
            .args(small)
            .args(["--set", more])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        check_output("run", &output);
        for file in ["log.txt", "plots/accuracy.svg"] {
            check_clean(file, &fs::read(folder.path().join(out).join(file)).unwrap());
        }
    }
    let output = run(&["compare", "one", "two", "--out", "page"]);
    assert!(output.status.success(), "{}", stderr(&output));
    check_output("compare", &output);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains(r"\u{1b}[2J"), "{table}");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert!(rows.iter().all(|row| columns(row) == columns(rows[1])), "{table}");
    for entry in fs::read_dir(folder.path().join("page")).unwrap() {
        let path = entry.unwrap().path();
        let contents = fs::read(&path).unwrap();
        check_clean(&path.display().to_string(), &contents);
        assert!(!String::from_utf8(contents).unwrap().contains("<script"), "{}", path.display());
    }
}

/// The same in what is wrong about them.
#[test]
fn errors_quote_what_can_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let option = |key: &str| format!("{key}={EVIL}");
    let commands = [
        vec![EVIL.to_string()],
        vec![format!("--{EVIL}")],
        vec!["presets".to_string(), EVIL.to_string()],
        vec!["run".to_string(), EVIL.to_string()],
        vec!["run".to_string(), "--jobs".to_string(), EVIL.to_string()],
        vec!["resume".to_string(), EVIL.to_string()],
        vec!["compare".to_string(), EVIL.to_string()],
        vec!["verify".to_string(), EVIL.to_string()],
        vec!["export".to_string(), EVIL.to_string(), "out".to_string()],
        vec!["partition".to_string(), "--dataset".to_string(), EVIL.to_string()],
        ["sweep", "--preset", "smoke", "--grid", &option("method")].map(str::to_string).to_vec(),
        ["run", "--preset", "smoke", "--set", &option("method")].map(str::to_string).to_vec(),
        ["run", "--preset", "smoke", "--set", &option("model")].map(str::to_string).to_vec(),
        ["run", "--preset", "smoke", "--set", &option(EVIL)].map(str::to_string).to_vec(),
    ];
    for command in commands {
        for format in ["text", "json"] {
            let output =
                spry(folder.path()).args(["--format", format]).args(&command).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{command:?}: {}", stderr(&output));
            check_output(&format!("{command:?}"), &output);
            if format == "json" {
                let json: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert!(json["error"].is_string(), "{command:?}: {json}");
            }
        }
    }
}

/// A megabyte of a value is no megabyte of a message, and what is said of it stays.
#[test]
fn errors_are_short() {
    let folder = tempfile::tempdir().unwrap();
    // With what is around it, just below the longest file that is read.
    let long = "x".repeat((1 << 20) - 100);
    let spaced = "x y ".repeat((1 << 18) - 25);
    for (config, expected) in [
        (format!("[method]\nname = \"{long}\"\n"), "but must be one of"),
        (format!("device = \"{spaced}\"\n"), "`device` is"),
        (format!("{long} = 1\n"), "there is no option `xxx"),
        (format!("seed = \"{spaced}\"\n"), "`seed`"),
        (format!("[dataset]\nname = \"{long}\"\n"), "xxx"),
        (format!("experiment = \"/{long}\"\n"), "but must be usable as the name of a folder"),
        (format!("[[[{long}\n"), "long.toml: line 1: "),
    ] {
        fs::write(folder.path().join("long.toml"), &config).unwrap();
        let output = spry(folder.path()).args(["run", "long.toml"]).output().unwrap();
        let message = stderr(&output);
        let short: String = message.chars().take(3000).collect();
        assert_eq!(output.status.code(), Some(2), "{short}");
        assert!(message.contains(expected), "{short}");
        assert!(message.chars().count() < 2_100 && message.lines().count() == 1, "{short}");
    }
    // By clap: one argument has at most 128 KiB on Linux.
    let long = &long[..120_000];
    for arguments in [vec!["run", "--jobs", long], vec![long], vec!["presets", long]] {
        let output = spry(folder.path()).args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).chars().count() < 2_100, "{} bytes", output.stderr.len());
    }
}

/// The folder of a run may have any name; the command that goes on with it can be copied.
#[test]
fn folders_with_odd_names_work() {
    let folder = tempfile::tempdir().unwrap();
    let out = "two  spaces\u{1b}[31m and 'quotes'";
    let mut command = spry(folder.path());
    let output = command.arg("run").args(SMALL).args(["--out", out]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    check_output("run", &output);
    let output = spry(folder.path()).arg("run").args(SMALL).args(["--out", out]).output().unwrap();
    let message = stderr(&output);
    let expected = r"spry resume $'two  spaces\x1b[31m and \'quotes\''";
    // Its backslashes are characters like all others.
    assert!(message.contains(expected), "{message}");
    succeed(spry(folder.path()).args(["compare", out]));
}
