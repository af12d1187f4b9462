//! Conventions that no compiler checks, each with its reason.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A file that should not be longer has more than one subject.
const LONGEST_FILE: usize = 500;

/// Which crates of the workspace a crate may depend on: arrows point down only.
const ALLOWED: &[(&str, &[&str])] = &[
    ("spry-kernels", &[]),
    ("spry-dual", &["spry-kernels"]),
    ("spry-core", &["spry-dual"]),
    ("spry-data", &["spry-core"]),
    ("spry-models", &["spry-core", "spry-data", "spry-dual"]),
    ("spry-strategies", &["spry-core"]),
    ("spry-runner", &["spry-core", "spry-data", "spry-models", "spry-strategies"]),
];

/// The only library that prints, plots and writes results.
const RUNNER: &str = "crates/spry-runner/";

/// The only crate with `unsafe` code; the others inherit the workspace's lints, which forbid it.
const UNSAFE: &str = "spry-kernels";

/// What the engine may depend on beside the workspace's own crates.
const OF_DUAL: &[&str] = &["burn", "burn-flex"];

/// What the kernels may depend on: nothing that knows of tensors.
const OF_KERNELS: &[&str] = &["bytemuck", "pulp", "rayon"];

/// Checks all conventions and lists every violation.
pub fn check(root: &Path) -> Result<()> {
    let mut violations = Vec::new();
    for file in files(root, "rs")? {
        check_source(root, &file, &mut violations)?;
    }
    for (name, allowed) in ALLOWED {
        check_dependencies(root, name, allowed, &mut violations)?;
    }
    check_lints(root, &mut violations)?;
    check_links(root, &mut violations)?;
    check_no_gpu_stack(root, &mut violations)?;
    if violations.is_empty() {
        println!("tidy: all conventions hold");
        return Ok(());
    }
    bail!("{} violation(s):\n  {}", violations.len(), violations.join("\n  "))
}

fn check_source(root: &Path, file: &Path, violations: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
    if !text.starts_with("//!") {
        violations.push(format!("{name}: begins without a `//!` line that says what it is about"));
    }
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        violations
            .push(format!("{name}: {lines} lines; look for the seam ({LONGEST_FILE} at most)"));
    }
    // A library's user decides what reaches the terminal.
    let is_library =
        name.starts_with("crates/") && !name.starts_with(RUNNER) && !name.contains("/tests/");
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let prints = ["println!(", "eprintln!(", "print!(", "dbg!("];
        if is_library && prints.iter().any(|print| code.starts_with(print)) {
            violations.push(format!("{name}:{}: a library prints", number + 1));
        }
    }
    // Strategies see parameters, roles and groups; how tensors are laid out is not their business.
    if name.starts_with("crates/spry-strategies/src") && text.contains("burn::") {
        violations.push(format!("{name}: a strategy touches tensors"));
    }
    Ok(())
}

/// The kernels depend on no tensors, the engine on Burn alone; other crates on crates below them.
fn check_dependencies(
    root: &Path,
    name: &str,
    allowed: &[&str],
    violations: &mut Vec<String>,
) -> Result<()> {
    let path = root.join("crates").join(name).join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut is_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            is_dependencies = line == "[dependencies]";
            continue;
        }
        let Some(dependency) = line.split(['.', ' ', '=']).next().filter(|d| !d.is_empty()) else {
            continue;
        };
        let is_ours = dependency.starts_with("spry-");
        let is_foreign = match name {
            "spry-dual" => !is_ours && !OF_DUAL.contains(&dependency),
            "spry-kernels" => !OF_KERNELS.contains(&dependency),
            _ => false,
        };
        if is_dependencies && (is_foreign || (is_ours && !allowed.contains(&dependency))) {
            violations.push(format!("crates/{name}/Cargo.toml: must not depend on {dependency}"));
        }
    }
    Ok(())
}

/// All packages but that of the kernels inherit the lints that forbid unsafe code. (A package that
/// is a workspace of its own, as cargo-fuzz wants it, has none to inherit.)
fn check_lints(root: &Path, violations: &mut Vec<String>) -> Result<()> {
    for file in files(root, "toml")?.iter().filter(|file| file.ends_with("Cargo.toml")) {
        let manifest = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let is_package = manifest.contains("[package]") && !manifest.contains("[workspace]\n");
        let inherits = manifest.contains("[lints]\nworkspace = true");
        let is_unsafe = manifest.contains(&format!("name = \"{UNSAFE}\""));
        if is_package && !inherits && !is_unsafe {
            let name = file.strip_prefix(root).unwrap_or(file).display();
            violations
                .push(format!("{name}: does not inherit the lints, which forbid unsafe code"));
        }
    }
    Ok(())
}

/// A build without options pulls in no GPU stack.
fn check_no_gpu_stack(root: &Path, violations: &mut Vec<String>) -> Result<()> {
    const GPU: &[&str] =
        &["cubecl-cuda", "cubecl-wgpu", "cubecl-runtime", "cudarc", "wgpu", "naga"];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let arguments = ["tree", "--workspace", "--edges", "normal", "--prefix", "none"];
    let output = Command::new(cargo).current_dir(root).args(arguments).output();
    let output = output.context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo tree` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if line.split(' ').next().is_some_and(|name| GPU.contains(&name)) {
            violations.push(format!("the default features pull in {line}"));
        }
    }
    Ok(())
}

/// Relative links in Markdown lead to files that exist.
fn check_links(root: &Path, violations: &mut Vec<String>) -> Result<()> {
    for file in files(root, "md")? {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let folder = file.parent().unwrap_or(root);
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
                violations.push(format!("{name}: the link to {target} leads nowhere"));
            }
        }
    }
    Ok(())
}

/// Files with an extension, below the folders that are ours.
fn files(root: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "results", "shared"].contains(&name) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
