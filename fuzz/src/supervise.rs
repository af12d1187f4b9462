//! The parent process: starts children, ends those that hang, and keeps what made one fail.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use spry_fuzz::check::{alone, check};
use spry_fuzz::{Target, corpus, mutate};

use crate::RunArguments;
use crate::worker::{ACCEPTED, FOUND, PROGRESS};

/// Name of the folder for the temporary files of children, which may end before they remove them.
const TEMPORARY: &str = "temporary";

/// An input that takes longer is a finding.
const LONGEST: Duration = Duration::from_secs(20);

/// Between two looks at a child.
const PAUSE: Duration = Duration::from_millis(20);

/// A child's address space in kilobytes: what a parser allocates on threads that are not counted,
/// or asks for at once, ends the child and not the machine.
const ADDRESS_SPACE: u64 = 3_000_000;

/// A target is given up after so many children that ended early.
const MOST_ENDS: usize = 12;

/// Tries to make an input that fails smaller.
const MOST_TRIES: usize = 300;

/// Time for all these tries.
const LONGEST_SHRINKING: Duration = Duration::from_secs(30);

/// An input that made a parser fail.
struct Finding {
    number: u64,
    message: String,
    can_shrink: bool,
}

/// Runs one target; false if its parser failed.
pub fn run(target: &'static Target, arguments: &RunArguments) -> Result<bool> {
    let inputs = corpus::read(target)?;
    check_corpus(target, &inputs)?;
    let corpus: Vec<&[u8]> = inputs.iter().map(|input| input.bytes.as_slice()).collect();
    let started = Instant::now();
    let work = work_folder().context("there is no folder for temporary files")?;
    let mut findings = Vec::new();
    let mut from = 0;
    while from < arguments.mutations {
        let Some((number, message, can_shrink)) = run_child(target, arguments, from, work.path())?
        else {
            from = arguments.mutations;
            break;
        };
        findings.push(Finding { number, message, can_shrink });
        from = number + 1;
        if findings.len() == MOST_ENDS {
            break;
        }
    }
    findings.extend(found(&work.path().join(FOUND))?);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}: {from} mutations in {seconds:.0} s, {} accepted, {} found",
        target.name,
        accepted(&work.path().join(ACCEPTED)),
        if findings.is_empty() { "nothing".to_string() } else { findings.len().to_string() }
    );
    for finding in &findings {
        let input = mutate::mutated(target, &corpus, arguments.seed, finding.number);
        let input = match finding.can_shrink {
            true => shrunk(target, input, work.path()),
            false => input,
        };
        let hash = blake3::hash(&input).to_hex();
        let path = arguments.out.join(format!("{}-{}", target.name, &hash[..8]));
        std::fs::create_dir_all(&arguments.out)
            .and_then(|()| std::fs::write(&path, &input))
            .with_context(|| path.display().to_string())?;
        println!("  mutation {}, {} bytes: {}", finding.number, input.len(), finding.message);
        let path = path.display();
        println!("    again: cargo xtask fuzz --target {} --replay {path}", target.name);
    }
    Ok(findings.is_empty())
}

/// A folder for children, in memory where the system has such a thing: every input is a file or
/// several.
fn work_folder() -> std::io::Result<tempfile::TempDir> {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    let folder = in_memory.or_else(|_| tempfile::tempdir())?;
    std::fs::create_dir(folder.path().join(TEMPORARY))?;
    Ok(folder)
}

/// Fails unless what must be accepted is: mutations of what is refused anyway find nothing.
fn check_corpus(target: &Target, inputs: &[corpus::Input]) -> Result<()> {
    for input in inputs.iter().filter(|input| input.is_valid()) {
        match alone(|| check(target, &input.bytes)) {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => bail!("{}: {} is refused: {reason}", target.name, input.name),
            Err(failure) => bail!("{}: {}: {failure}", target.name, input.name),
        }
    }
    Ok(())
}

/// Has a child run all mutations from a number on. The mutation at which it ended early, if it
/// did, how, and whether that can be tried again quickly.
fn run_child(
    target: &Target,
    arguments: &RunArguments,
    from: u64,
    folder: &Path,
) -> Result<Option<(u64, String, bool)>> {
    let progress = folder.join(PROGRESS);
    std::fs::write(&progress, from.to_string())?;
    let (seed, to) = (arguments.seed.to_string(), arguments.mutations.to_string());
    let mut command = limited(folder)?;
    command.args(["worker", "--target", target.name, "--seed", &seed]);
    command.args(["--from", &from.to_string(), "--to", &to, "--folder"]).arg(folder);
    let said = folder.join("stderr");
    command.stdout(Stdio::null()).stderr(std::fs::File::create(&said)?);
    let mut child = command.spawn().context("cannot start a child")?;
    let status = wait(&mut child, || std::fs::read(&progress).unwrap_or_default())?;
    let at = || -> Result<u64> {
        std::fs::read_to_string(&progress)?.parse().context("the child does not say where it was")
    };
    match status {
        Some(status) if status.success() => Ok(None),
        // The child's own error, which is no finding.
        Some(status) if status.code() == Some(2) => {
            bail!("{}: the child failed: {}", target.name, last_line(&said))
        }
        Some(status) => {
            let message = format!("the process ended with {status}: {}", last_line(&said));
            Ok(Some((at()?, message, true)))
        }
        None => Ok(Some((at()?, format!("no answer for {} s", LONGEST.as_secs()), false))),
    }
}

/// The last that a child said.
fn last_line(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing was said").to_string()
}

/// This program with a limited address space, where the system has such a thing.
fn limited(folder: &Path) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = match cfg!(unix) {
        true => {
            let mut shell = Command::new("sh");
            let limit = format!("ulimit -v {ADDRESS_SPACE}; exec \"$0\" \"$@\"");
            shell.arg("-c").arg(limit).arg(program);
            shell
        }
        false => Command::new(program),
    };
    command.env("TMPDIR", folder.join(TEMPORARY));
    Ok(command)
}

/// Waits for a child; `None` if it had to be ended because its progress stood still.
fn wait(child: &mut Child, progress: impl Fn() -> Vec<u8>) -> Result<Option<ExitStatus>> {
    let (mut last, mut since) = (progress(), Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(PAUSE);
        let now = progress();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > LONGEST {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
    }
}

/// How many mutations the children that came to their end accepted.
fn accepted(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse::<u64>().ok()).sum()
}

/// What children found and survived: each kind once.
fn found(path: &Path) -> Result<Vec<Finding>> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(Vec::new()) };
    let mut findings: Vec<Finding> = Vec::new();
    for line in text.lines() {
        let (number, message) = line.split_once('\t').context("the list of findings is damaged")?;
        let place = |message: &str| message.rsplit_once("(at ").map(|(_, place)| place.to_string());
        let is_known = |known: &Finding| {
            known.message == message
                || (place(message).is_some() && place(&known.message) == place(message))
        };
        if !findings.iter().any(is_known) {
            let (number, message) = (number.parse()?, message.to_string());
            findings.push(Finding { number, message, can_shrink: true });
        }
    }
    Ok(findings)
}

/// The input without parts that it need not have to fail, as far as that is found quickly.
fn shrunk(target: &Target, mut input: Vec<u8>, folder: &Path) -> Vec<u8> {
    let Ok(wanted) = answer(target, &input, folder) else { return input };
    let (mut tries, started) = (0, Instant::now());
    let mut part = input.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < input.len() {
            if tries == MOST_TRIES || started.elapsed() > LONGEST_SHRINKING {
                return input;
            }
            tries += 1;
            let mut smaller = input.clone();
            smaller.drain(at..(at + part).min(input.len()));
            match answer(target, &smaller, folder) {
                Ok(answer) if answer == wanted => input = smaller,
                _ => at += part,
            }
        }
        part /= 2;
    }
    input
}

/// How an input fails: the child's end, and the place of its panic.
fn answer(target: &Target, input: &[u8], folder: &Path) -> Result<(Option<i32>, String)> {
    let path: PathBuf = folder.join("input");
    std::fs::write(&path, input)?;
    let mut command = limited(folder)?;
    command.args(["replay", "--target", target.name]).arg(&path);
    let output = command.stderr(Stdio::null()).output()?;
    if output.status.success() {
        bail!("it does not fail");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let place = text.rsplit_once("(at ").map(|(_, place)| place.trim().to_string());
    Ok((output.status.code(), place.unwrap_or_default()))
}
