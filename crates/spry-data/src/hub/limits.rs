//! What a hub may take of time and space.

use std::time::{Duration, Instant};

/// Limits of what is taken from a hub, so that one that is broken or hostile neither holds a
/// program up nor fills its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time to resolve a name, and as much again to connect and to receive an answer's headers.
    /// `HF_HUB_ETAG_TIMEOUT`, or 10 seconds.
    pub answer: Duration,
    /// Time within which [`progress`](Self::progress) bytes of a body must arrive.
    /// `HF_HUB_DOWNLOAD_TIMEOUT`, or 10 seconds.
    pub stall: Duration,
    /// Bytes that count as progress.
    pub progress: u64,
    /// Time for a whole list of files.
    pub list: Duration,
    /// Bytes of a list of files.
    pub list_bytes: u64,
    /// Files in a list.
    pub list_files: usize,
    /// Bytes of a file of weights or of a dataset (`.safetensors`, `.parquet`).
    pub data_bytes: u64,
    /// Bytes of any other file.
    pub file_bytes: u64,
    /// Bytes per second that a file must come at on the whole, beside the time of a list.
    pub rate: u64,
    /// Redirects of one request.
    pub redirects: usize,
    /// How often a request is made that fails in a way that may pass: status 429 or 5xx, or a
    /// connection that breaks.
    pub attempts: usize,
    /// Pause before the second attempt; it doubles before each further one.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            progress: 8 << 10,
            list: Duration::from_secs(120),
            list_bytes: 32 << 20,
            list_files: 500_000,
            data_bytes: 1 << 40,
            file_bytes: 64 << 20,
            rate: 64 << 10,
            redirects: 10,
            attempts: 4,
            pause: Duration::from_millis(500),
        }
    }
}

impl Limits {
    /// The longest that a file of this name may be.
    pub(super) fn bytes_of(&self, name: &str) -> u64 {
        let is_data = [".safetensors", ".parquet"].iter().any(|end| name.ends_with(end));
        if is_data { self.data_bytes } else { self.file_bytes }
    }
}

/// Watches a body arrive.
pub(super) struct Meter {
    progress: u64,
    stall: Duration,
    deadline: Option<Instant>,
    since: Instant,
    bytes: u64,
}

impl Meter {
    pub(super) fn new(limits: &Limits, whole: Option<Duration>) -> Self {
        let since = Instant::now();
        Self {
            progress: limits.progress,
            stall: limits.stall,
            deadline: whole.map(|whole| since + whole),
            since,
            bytes: 0,
        }
    }

    /// Whether more may be waited for after so many bytes more.
    pub(super) fn is_in_time_after(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        self.bytes += bytes as u64;
        if self.bytes >= self.progress {
            (self.since, self.bytes) = (now, 0);
        }
        now.duration_since(self.since) <= self.stall
            && self.deadline.is_none_or(|deadline| now <= deadline)
    }
}
