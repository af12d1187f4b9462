//! Contents of files, from the hub into its cache.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::answer::{Answer, Failure, Metadata};
use super::cache::Folder;
use super::client::{CHUNK, Client, read};
use super::limits::Meter;
use super::source::Repository;
use crate::{Error, Result};

/// Brings a file's contents into the cache, unless they are there, and returns their path.
///
/// They come into an `.incomplete` file that is renamed when it is whole. One process at a time
/// does so, by the same lock as Python's; where a file system knows no locks, all write the same
/// bytes to the same places. What an earlier process left is gone on with where the hub tells the
/// contents' hash, and begun anew otherwise.
pub(super) fn blob(
    client: &Client,
    folder: &Folder,
    repo: &Repository,
    name: &str,
    file: &Metadata,
) -> Result<PathBuf> {
    let path = folder.blob(&file.blob);
    let incomplete = folder.blob(&format!("{}.incomplete", file.blob));
    let _lock = folder.lock(&file.blob)?;
    match std::fs::metadata(&path) {
        Ok(found) if found.len() == file.size => return Ok(path),
        // The hash will tell which of the two is right.
        Ok(_) if file.sha256.is_some() => {}
        Ok(found) => {
            return Err(Error::Download {
                repo: repo.name(),
                file: name.to_string(),
                reason: format!(
                    "the hub announces {} bytes, but {} in the cache, which should be the same, \
                     has {}; if that is damaged, remove it",
                    file.size,
                    path.display(),
                    found.len()
                ),
            });
        }
        Err(_) => {}
    }
    fetch(client, repo, name, file, &incomplete)?;
    match std::fs::rename(&incomplete, &path) {
        Ok(()) => folder.sync_blobs(),
        // Without locks, another process may have been faster.
        Err(_) if std::fs::metadata(&path).is_ok_and(|found| found.len() == file.size) => {}
        Err(error) => return Err(Error::io(&path)(error)),
    }
    Ok(path)
}

fn fetch(
    client: &Client,
    repo: &Repository,
    name: &str,
    file: &Metadata,
    incomplete: &Path,
) -> Result<()> {
    let mut attempt = 1;
    let mut keep = file.sha256.is_some();
    loop {
        let mut part = Part::open(incomplete, file.size, keep).map_err(Error::io(incomplete))?;
        let was_begun = part.position > 0;
        let failure = match part.complete(client, repo, name, file) {
            Ok(()) => match part.check(file) {
                Ok(()) => return part.file.sync_all().map_err(Error::io(incomplete)),
                Err(reason) => {
                    // What is wrong is of no use to anybody.
                    remove(incomplete)?;
                    if !was_begun {
                        return Err(Failure::Refused(reason).into_error(client, repo, name));
                    }
                    // What an earlier process left may be the reason.
                    Stop::Passing
                }
            },
            Err(stop) => stop,
        };
        match failure {
            Stop::Io(error) => return Err(Error::io(incomplete)(error)),
            Stop::Passing => keep = false,
            Stop::Hub(Failure::Passing { wait, .. }) if attempt < client.limits().attempts => {
                client.pause(attempt, wait);
                keep = file.sha256.is_some();
            }
            Stop::Hub(failure) => return Err(failure.into_error(client, repo, name)),
        }
        attempt += 1;
        if attempt > client.limits().attempts + 1 {
            let reason = "it broke off again and again".to_string();
            return Err(Failure::Refused(reason).into_error(client, repo, name));
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Why a file is not complete yet.
enum Stop {
    Io(std::io::Error),
    Hub(Failure),
    /// What is there cannot be gone on with.
    Passing,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Hub(failure)
    }
}

/// The part of a file that is there.
struct Part {
    file: File,
    position: u64,
    hash: Sha256,
}

impl Part {
    /// Opens what an earlier attempt left, if it is to be kept and can be, or a new file.
    fn open(path: &Path, size: u64, keep: bool) -> std::io::Result<Self> {
        // Never through a link, nor into anything but a file.
        let length = match std::fs::symlink_metadata(path) {
            Ok(found) if keep && found.is_file() && found.len() <= size => found.len(),
            Ok(_) => {
                std::fs::remove_file(path)?;
                0
            }
            Err(_) => 0,
        };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (mut hash, mut chunk, mut position) = (Sha256::new(), vec![0; CHUNK], 0);
        while position < length {
            let bytes = file.read(&mut chunk)?;
            if bytes == 0 {
                break;
            }
            hash.update(&chunk[..bytes]);
            position += bytes as u64;
        }
        Ok(Self { file, position, hash })
    }

    /// Downloads the rest.
    fn complete(
        &mut self,
        client: &Client,
        repo: &Repository,
        name: &str,
        file: &Metadata,
    ) -> Result<(), Stop> {
        if self.position == file.size {
            return Ok(());
        }
        let answer = client.open(repo, file, name, self.position)?;
        self.begin_at(&answer, file)?;
        answer.check_is_of(file, self.position)?;
        let mut reader = answer.into_body().into_reader();
        let limits = client.limits();
        let whole = Duration::from_secs((file.size - self.position) / limits.rate.max(1));
        let mut meter = Meter::new(limits, Some(limits.list + whole));
        let mut chunk = vec![0; CHUNK];
        loop {
            let bytes = read(&mut reader, &mut chunk)?;
            if bytes == 0 {
                break;
            }
            if bytes as u64 > file.size - self.position {
                let reason = format!("the hub sends more than the {} bytes announced", file.size);
                return Err(Failure::Refused(reason).into());
            }
            self.file.write_all(&chunk[..bytes]).map_err(Stop::Io)?;
            self.hash.update(&chunk[..bytes]);
            self.position += bytes as u64;
            if self.position < file.size && !meter.is_in_time_after(bytes) {
                let reason = "it comes too slowly to be waited for".to_string();
                return Err(Failure::Refused(reason).into());
            }
        }
        if self.position < file.size {
            let reason = format!("it broke off after {} of {} bytes", self.position, file.size);
            return Err(Failure::Passing { reason, is_unreachable: false, wait: None }.into());
        }
        Ok(())
    }

    /// Goes to where the answer begins: where this part ends, or at the file's beginning.
    fn begin_at(&mut self, answer: &Answer, file: &Metadata) -> Result<(), Stop> {
        match answer.status().as_u16() {
            200 if self.position == 0 => Ok(()),
            200 => {
                self.file.seek(SeekFrom::Start(0)).map_err(Stop::Io)?;
                (self.position, self.hash) = (0, Sha256::new());
                Ok(())
            }
            206 if self.position > 0 && answer.is_rest_from(self.position, file.size) => Ok(()),
            _ if self.position > 0 => Err(Stop::Passing),
            status => {
                let reason = format!("the hub answers with status {status} to a plain request");
                Err(Failure::Refused(reason).into())
            }
        }
    }

    /// Whether the contents are what the hub said they would be.
    fn check(&mut self, file: &Metadata) -> Result<(), String> {
        let found = std::mem::take(&mut self.hash).finalize();
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        match &file.sha256 {
            Some(expected) if *expected != found => Err(format!(
                "its SHA-256 is {found}, but the hub announces {expected}; it was damaged on its way, or is not \
                 what it should be"
            )),
            _ => Ok(()),
        }
    }
}
