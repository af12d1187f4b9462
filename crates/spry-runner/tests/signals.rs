//! Signals: whatever comes, and however often, no checkpoint is lost.
#![cfg(unix)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{SMALL, spry, stderr, succeed};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use spry_core::Seed;

/// How often a run is stopped by doubled signals, unless `SPRY_KILLS` has another number.
const KILLS: usize = 10;

/// Rounds of each run.
const ROUNDS: u64 = 24;

/// Makes the processes that this one starts begin with the usual answer to these signals, though
/// this one may have been started with some of them ignored, as a shell's background jobs are: a
/// signal that has a handler here is not inherited.
fn with_usual_signals() {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let always = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_default(signal, always).unwrap();
    }
}

/// A run of which only a stop writes a checkpoint before its end.
fn arguments(out: &str) -> Vec<String> {
    let rounds = format!("num_server_rounds={ROUNDS}");
    let mut arguments = vec!["run"];
    arguments.extend(SMALL);
    for option in [rounds.as_str(), "dataset.max_examples=160", "checkpoint_every=1000"] {
        arguments.extend(["--set", option]);
    }
    arguments.extend(["--out", out]);
    arguments.into_iter().map(str::to_string).collect()
}

/// Starts or resumes a run, and waits until there is something to save. Returns the lines that its
/// log had before.
fn start(folder: &Path, name: &str) -> (Child, usize) {
    let run = folder.join(name);
    let arguments = match run.join("config.toml").is_file() {
        true => vec!["resume".to_string(), name.to_string()],
        false => arguments(name),
    };
    let before = log(&run).len();
    let child = spry(folder)
        .args(arguments)
        .args(["--jobs", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the run to begin", || {
        log(&run)[before..].iter().any(|line| line.contains(" rounds done"))
    });
    (child, before)
}

fn log(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("log.txt")).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Sends two signals, some seconds apart. The process may end before the second.
fn send(child: &Child, first: &str, seconds: f64, second: &str) {
    let id = child.id();
    let script = match seconds {
        0.0 => format!("kill -{first} {id}; kill -{second} {id} 2>&-"),
        _ => format!("kill -{first} {id}; sleep {seconds:.3}; kill -{second} {id} 2>&-"),
    };
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
}

/// The number before or after some words in a line.
fn number_after(line: &str, words: &str) -> Option<u64> {
    let rest = &line[line.find(words)? + words.len()..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Each stop leaves a checkpoint of all rounds that had ended, which the next start takes up.
#[test]
fn doubled_signals_lose_no_checkpoint() {
    with_usual_signals();
    let kills = std::env::var("SPRY_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (whole, _) = start(folder.path(), "whole");
    let started = Instant::now();
    assert!(whole.wait_with_output().unwrap().status.success());
    let duration = started.elapsed();
    let weights = |name: &str| {
        fs::read(folder.path().join(name).join("adapter/adapter_model.safetensors")).unwrap()
    };
    let expected = weights("whole");

    let numbers = Seed::new(0).child("signals", 0).uniforms(40 * kills);
    let mut numbers = numbers.into_iter().cycle();
    let (mut stops, mut runs) = (0, 0);
    while stops < kills {
        let name = format!("run-{runs}");
        let run = folder.path().join(&name);
        runs += 1;
        let mut rounds = None;
        loop {
            let (child, before) = start(folder.path(), &name);
            if let Some(rounds) = rounds {
                let log = log(&run)[before..].join("\n");
                assert!(log.contains(&format!("resuming after {rounds} rounds")), "{log}");
            }
            let mut next = || numbers.next().unwrap();
            sleep(duration.mul_f64(0.5 * next()));
            // GNU `timeout` sends its signal to the process and to its group.
            let within_a_second = next();
            match stops % 5 {
                0 | 1 => send(&child, "TERM", 0.0, "TERM"),
                2 => send(&child, "TERM", within_a_second, "TERM"),
                3 => send(&child, "INT", 0.0, "INT"),
                _ => send(&child, "HUP", 0.5 * within_a_second, "TERM"),
            }
            let output = child.wait_with_output().unwrap();
            if output.status.success() {
                break;
            }
            stops += 1;
            rounds = Some(stopped_after(&output, &log(&run)));
        }
        assert!(weights(&name) == expected, "{name} has come to other weights");
    }
    println!("{stops} stops in {runs} runs of {duration:?}, no checkpoint lost");
}

/// The rounds that were done when a run was stopped, which must be all that its log tells of.
fn stopped_after(output: &Output, log: &[String]) -> u64 {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(130), "{message}");
    let rounds = message.lines().find_map(|line| number_after(line, "interrupted after "));
    let rounds = rounds.unwrap_or_else(|| panic!("{message}"));
    assert!(message.contains("go on with: spry resume run-"), "{message}");
    let ended = log.iter().filter_map(|line| number_after(line, "DEBUG round ")).max();
    assert_eq!(rounds, ended.unwrap_or(0), "{message}");
    rounds
}

/// A terminal that takes nothing holds the run up in the middle of a note. A second Ctrl-C ends it
/// all the same; a second request to terminate does not.
#[test]
fn a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not() {
    with_usual_signals();
    let folder = tempfile::tempdir().unwrap();
    let begin = |name: &str| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        // As full as it gets.
        let filled = Arc::new(std::sync::Mutex::new(0));
        let (count, mut end) = (filled.clone(), writer.try_clone().unwrap());
        std::thread::spawn(move || {
            while end.write_all(b".").is_ok() {
                *count.lock().unwrap() += 1;
            }
        });
        let mut before = 0;
        wait_until("the pipe to be full", || {
            sleep(Duration::from_millis(50));
            let now = *filled.lock().unwrap();
            std::mem::replace(&mut before, now) == now && now > 0
        });
        let _ = writer.flush();
        // No client's loss stays finite, of which there is a warning.
        let child = spry(folder.path())
            .args(arguments(name))
            .args(["--set", "learning_rate=1e30", "--jobs", "1"])
            .stdout(Stdio::null())
            .stderr(writer)
            .spawn()
            .unwrap();
        let run = folder.path().join(name);
        wait_until("the run to begin", || {
            log(&run).iter().any(|line| line.contains(" rounds done"))
        });
        // Into the first round, and the warning.
        sleep(Duration::from_secs(2));
        (child, reader)
    };

    let (mut child, reader) = begin("interrupted");
    assert!(child.try_wait().unwrap().is_none(), "it was not held up");
    send(&child, "INT", 0.7, "INT");
    let started = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop(reader);

    let (mut child, mut reader) = begin("terminated");
    send(&child, "TERM", 0.7, "TERM");
    sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it ended without a checkpoint");
    std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(folder.path().join("terminated/summary.json").is_file());
}

/// Where there is nothing to save yet, there is nothing to wait for.
#[test]
fn a_signal_while_loading_ends_at_once() {
    with_usual_signals();
    let folder = tempfile::tempdir().unwrap();
    // A hub that takes the call and never answers.
    let hub = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", hub.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_spry"));
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    let child = command
        .current_dir(folder.path())
        .env("HF_HUB_CACHE", folder.path().join("cache/hub"))
        .env("HF_ENDPOINT", address)
        .args(arguments("out"))
        .args(["--set", "model=some-org/some-model"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _call = hub.accept().unwrap();
    let started = Instant::now();
    send(&child, "TERM", 0.0, "TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(stderr(&output), "interrupted\n");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(!folder.path().join("out").exists());
}

/// Limits of the system are no reason to lose anything.
#[cfg(target_os = "linux")]
#[test]
fn limits_of_time_and_size_end_a_run_in_order() {
    with_usual_signals();
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, limit: &str| {
        let output = Command::new("bash")
            .current_dir(folder.path())
            .env("HF_HUB_CACHE", folder.path().join("cache/hub"))
            .args(["-c", &format!("{limit}; exec \"$@\""), "bash", env!("CARGO_BIN_EXE_spry")])
            .arg("--offline")
            .args(arguments(name))
            .args(["--set", "num_server_rounds=100000"])
            .output()
            .unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, message) = run("time", "ulimit -S -t 3");
    assert_eq!(code, Some(130), "{message}");
    assert!(message.contains("go on with: spry resume time"), "{message}");
    // The tiny model's weights have more than 64 KiB.
    let (code, message) = run("size", "ulimit -f 64");
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("File too large"), "{message}");
}

/// As `nohup` does it.
#[cfg(target_os = "linux")]
#[test]
fn an_ignored_hangup_stays_ignored() {
    with_usual_signals();
    let folder = tempfile::tempdir().unwrap();
    for (trap, code) in [("trap '' HUP", Some(0)), (":", Some(130))] {
        let name = if code == Some(0) { "ignored" } else { "heard" };
        let script = format!("{trap}; exec \"$@\"");
        let child = Command::new("sh")
            .current_dir(folder.path())
            .env("HF_HUB_CACHE", folder.path().join("cache/hub"))
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_spry"), "--offline"])
            .args(arguments(name))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let run = folder.path().join(name);
        wait_until("a round", || log(&run).iter().any(|line| line.contains("DEBUG round ")));
        send(&child, "HUP", 0.01, "HUP");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), code, "{trap}: {}", stderr(&output));
    }
    succeed(spry(folder.path()).args(["resume", "heard"]));
}
