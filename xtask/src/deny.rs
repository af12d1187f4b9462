//! Advisories, licences, duplicates and sources of the dependencies, by cargo-deny.
//!
//! A machine that has nothing but the Rust toolchain passes without it, and one without a network
//! without the advisories; both are said.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// Checks the dependencies as `deny.toml` says.
pub fn check(root: &Path) -> Result<()> {
    // For whoever must not miss a skip, as a release.
    let is_required = std::env::var("SPRY_DENY").is_ok_and(|value| value == "required");
    if !cargo_deny(root, &["--version"])?.status.success() {
        if is_required {
            bail!("cargo-deny is not installed, but SPRY_DENY=required");
        }
        println!(
            "== dependencies: SKIPPED, cargo-deny is not installed \
             (cargo install --locked cargo-deny)"
        );
        return Ok(());
    }
    // What a user may turn on must have a licence and a source, too; of the versions of one crate
    // those count that everybody builds.
    let checks: [(&str, &[&str]); 3] = [
        ("licences and sources", &["--all-features", "check", "licenses", "sources"]),
        ("duplicates and bans", &["check", "bans"]),
        ("advisories", &["check", "advisories"]),
    ];
    for (what, arguments) in checks {
        let output = cargo_deny(root, &[arguments, &["--hide-inclusion-graph"]].concat())?;
        if is_unreachable(&output) && !is_required {
            println!("== dependencies: {what} SKIPPED, what they need cannot be downloaded");
            continue;
        }
        report(&output)?;
    }
    Ok(())
}

fn cargo_deny(root: &Path, arguments: &[&str]) -> Result<Output> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let mut command = Command::new(cargo);
    command.current_dir(root).arg("deny").args(arguments).output().context("cannot start cargo")
}

/// Whether something is missing that only the network has: the database of advisories, or the
/// manifests of crates that other systems need.
fn is_unreachable(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stderr);
    let signs = ["failed to fetch advisory database", "failed to download", "failed to fetch"];
    !output.status.success() && signs.iter().any(|sign| text.contains(sign))
}

/// Shows what cargo-deny says; fails if it does.
fn report(output: &Output) -> Result<()> {
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(&output.stdout));
    match output.status.success() {
        true => Ok(()),
        false => bail!("cargo-deny ended with {}", output.status),
    }
}
