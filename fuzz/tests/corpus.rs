//! Every input that is kept, and some that are made now, through every parser.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use spry_fuzz::check::{alone, check};
use spry_fuzz::{TARGETS, Target, corpus, mutate};

/// An input that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(20);

/// Mutations of each target that are tried in every run of the tests.
const MUTATIONS: u64 = 200;

/// Parses inputs on a thread of their own, and fails if one takes too long.
fn check_all(target: &'static Target, inputs: Vec<(String, Vec<u8>)>, is_valid: fn(&str) -> bool) {
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        for (name, bytes) in inputs {
            let outcome = check(target, &bytes);
            if sender.send((name, outcome)).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::spawn(|| alone(work));
    loop {
        let (name, outcome) = match receiver.recv_timeout(LONGEST) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{}: an input hangs", target.name),
        };
        match outcome {
            Ok(Err(reason)) if is_valid(&name) => {
                panic!(
                    "{}: {name} is refused: {reason}; if the format has changed, write the corpus \
                     anew: cargo xtask fuzz --write-corpus",
                    target.name
                )
            }
            Ok(_) => {}
            Err(failure) => panic!("{}: {name}: {failure}", target.name),
        }
    }
    thread.join().unwrap();
}

#[test]
fn what_is_kept_does_no_harm_and_what_is_valid_is_accepted() {
    for target in TARGETS {
        let inputs = corpus::read(target).unwrap();
        let inputs = inputs.into_iter().map(|input| (input.name, input.bytes)).collect();
        check_all(target, inputs, |name| name.starts_with(corpus::VALID));
    }
}

#[test]
fn some_mutations_do_no_harm() {
    for target in TARGETS {
        let inputs = corpus::read(target).unwrap();
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| input.bytes.as_slice()).collect();
        let mutated = |i: u64| (format!("mutation {i}"), mutate::mutated(target, &inputs, 13, i));
        check_all(target, (0..MUTATIONS).map(mutated).collect(), |_| false);
    }
}

/// A mutation that every target refuses at once would test nothing.
#[test]
fn some_mutations_are_accepted() {
    for target in TARGETS {
        let inputs = corpus::read(target).unwrap();
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| input.bytes.as_slice()).collect();
        let mutations = (0..MUTATIONS).map(|i| mutate::mutated(target, &inputs, 13, i));
        let mut changed = mutations.filter(|mutation| !inputs.contains(&mutation.as_slice()));
        let is_accepted = |input: Vec<u8>| matches!(check(target, &input), Ok(Ok(())));
        assert!(changed.any(is_accepted), "{}: all mutations are refused", target.name);
    }
}

#[test]
fn each_corpus_has_its_target_and_is_small() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_string()).collect();
    assert_eq!(names.len(), TARGETS.len(), "two targets have one name");
    let mut folders = BTreeSet::new();
    for entry in std::fs::read_dir(corpus::folder()).unwrap() {
        let path = entry.unwrap().path();
        folders.insert(path.file_name().unwrap().to_str().unwrap().to_string());
        for file in std::fs::read_dir(&path).unwrap() {
            let file = file.unwrap();
            let bytes = file.metadata().unwrap().len();
            assert!(bytes < 1 << 14, "{} has {bytes} bytes", file.path().display());
        }
    }
    assert_eq!(folders, names);
}

/// The targets of libFuzzer are those of the table.
#[test]
fn cargo_fuzz_has_the_same_targets() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cargo-fuzz/Cargo.toml");
    let manifest = std::fs::read_to_string(path).unwrap();
    let (_, binaries) = manifest.split_once("[[bin]]").unwrap();
    let names = binaries.lines().filter_map(|line| line.strip_prefix("name = "));
    let names: Vec<&str> = names.map(|name| name.trim_matches('"')).collect();
    let expected: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, expected);
}
