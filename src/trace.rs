//! A recording of what a node saw, from which the same ledger can be made again.
//!
//! A trace is a text file of JSON values, one per line. The first line says what the file is:
//!
//! ```json
//! {"trace":"gpu-cost-exporter","version":1,"recorded_by":"0.1.0"}
//! ```
//!
//! and each other line is one observation, in the order in which they were made:
//!
//! ```json
//! {"at":5000000000,"wall":1767225605000,"boot":"9a5c…","gpus":[{"uuid":"GPU-1","index":0,"product":"NVIDIA L4"}],
//!  "allocations_read_at":5000000000,"allocations":{"containers":[…]},"pods":[…],"node":{"name":"gpu-node-1"}}
//! ```
//!
//! What was not measured is left out. Four fields are also left out while they say the same as on the line before:
//! `boot`, `allocations`, `pods` and `node`; before the first line they are empty. They are most of a line and change
//! seldom, while the GPUs change with every tick. When the kubelet answered is apart from what it answered, because it
//! answers the same thing again and again; without `allocations_read_at` it never answered. Times since boot are in
//! nanoseconds, wall-clock times in milliseconds, parts in millionths, energy in millijoules, power in milliwatts.
//!
//! A field that a reader does not know is skipped: later programs may add some and still write version 1. What would
//! change the meaning of a known field gets another version, which older programs refuse. The types in here mirror
//! those of [`observation`](crate::observation), so that those may change while old recordings stay readable.
//!
//! A recorder goes on with a trace that is already there: a container that is restarted would lose what it recorded. The
//! first line that it writes says all four fields, and what its predecessor left of a line is cut off.
//!
//! Each line is written whole and at once. A recorder that is killed leaves at most a part of its last line; a reader
//! skips such a line and tells its number in [`Replay::cut_off_line`]. A broken line anywhere else is an error, after
//! which a replay ends, because the lines that follow may lean on the broken one.

mod allocation;
mod claim;
mod gpu;
mod line;
mod list;
mod pod;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::observation::Observation;

pub use self::allocation::{WireAllocation, WirePodKey};
pub use self::line::WholeLine;
pub use self::list::List;

use self::line::{Carried, Line};

/// What the header says that a file is.
const FORMAT: &str = "gpu-cost-exporter";

/// How a header begins, as it is written.
const HEADER_START: &str = "{\"trace\":\"gpu-cost-exporter\"";

/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;

/// The most bytes of a line that are read. Ten thousand pods with long labels need a tenth of it; a file without line
/// ends must not fill the memory.
const LONGEST_LINE: u64 = 64 << 20;

/// Writes observations to a file, one line each.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: File,
    /// How many whole lines and bytes the file has.
    lines: u64,
    bytes: u64,
    carried: Carried,
}

/// Reads the observations of a file, in the order in which they were made.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    file: BufReader<File>,
    lines: u64,
    carried: Carried,
    cut_off_line: Option<u64>,
    ended: bool,
}

/// Why a trace cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made or written to.
    #[error("create trace {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line cannot be written: the disk is full, for instance.
    #[error("write line {line} of trace {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be opened.
    #[error("open trace {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line cannot be read.
    #[error("read line {line} of trace {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The file is something else.
    #[error(
        "read trace {}: line 1 is no header of a trace, \
         expected {{\"trace\":\"{FORMAT}\",\"version\":{VERSION}}}",
        path.display()
    )]
    NotATrace {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a program that is too new.
    #[error("read trace {}: it has version {version}, expected at most {VERSION}", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version that the header says.
        version: u32,
    },
    /// A line is no observation.
    #[error("read trace {}: line {line}, column {column}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The column in bytes, counted from 1; 0 where the line as a whole is meant.
        column: usize,
        /// What was found and what was expected.
        problem: String,
    },
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    trace: String,
    version: u32,
    #[serde(default)]
    recorded_by: String,
}

/// A line as it stands in the file.
enum Text {
    /// With its line end.
    Whole(Vec<u8>),
    /// The last one, without a line end.
    Unfinished(Vec<u8>),
    /// There are no more.
    End,
}

// === impl Recorder ===

impl Recorder {
    /// Begins a trace at `path`, or goes on with the one that is already there; a file that is something else is left
    /// alone.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let (lines, bytes) = whole_lines(path)?;
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|source| Error::Create { path: path.into(), source })?;
        let carried = if lines > 0 { Carried::unknown() } else { Carried::default() };
        let mut recorder = Self { path: path.into(), file, lines, bytes, carried };
        recorder.take_back();
        if lines == 0 {
            recorder.write_header()?;
        }
        Ok(recorder)
    }

    fn write_header(&mut self) -> Result<(), Error> {
        self.write(&Header {
            trace: FORMAT.into(),
            version: VERSION,
            recorded_by: env!("CARGO_PKG_VERSION").into(),
        })
    }

    /// Writes one observation. After an error the file ends where it ended before, as far as the disk allows, and the
    /// next observation may be tried.
    pub fn record(&mut self, seen: &Observation) -> Result<(), Error> {
        let mut carried = self.carried.clone();
        let line = carried.line(seen);
        self.write(&line)?;
        self.carried = carried;
        Ok(())
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let written = self.write_whole(value);
        if let Err(source) = written {
            self.take_back();
            return Err(Error::Write { path: self.path.clone(), line: self.lines + 1, source });
        }
        self.lines += 1;
        Ok(())
    }

    fn write_whole(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(value)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.bytes += u64::try_from(text.len()).unwrap_or(0);
        Ok(())
    }

    /// Takes back what was written after the last whole line; a part of a line would spoil the next one.
    fn take_back(&mut self) {
        // What is no plain file has no length to go back to, and a disk that fails here fails the next line as well.
        let _ = self.file.set_len(self.bytes);
        let _ = self.file.seek(SeekFrom::Start(self.bytes));
    }
}

/// How many lines and bytes the trace at `path` has up to its last line end; nothing if there is no file, or nothing of
/// one but a part of the header.
fn whole_lines(path: &Path) -> Result<(u64, u64), Error> {
    if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return Ok((0, 0));
    }
    let mut trace = Replay::unread(path)?;
    let mut text = trace.text()?;
    match &text {
        Text::End => return Ok((0, 0)),
        Text::Unfinished(part) if HEADER_START.as_bytes().starts_with(part) => return Ok((0, 0)),
        Text::Unfinished(part) if part.starts_with(HEADER_START.as_bytes()) => return Ok((0, 0)),
        Text::Whole(header) | Text::Unfinished(header) => trace.check_header(header)?,
    }
    let mut bytes = 0;
    while let Text::Whole(line) = text {
        bytes += u64::try_from(line.len()).unwrap_or(0);
        text = trace.text()?;
    }
    // The last one read was not whole.
    Ok((trace.lines.saturating_sub(1), bytes))
}

// === impl Replay ===

impl Replay {
    /// Opens the trace at `path` and reads its header.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut replay = Self::unread(path)?;
        let (Text::Whole(header) | Text::Unfinished(header)) = replay.text()? else {
            return Err(replay.not_a_trace());
        };
        replay.check_header(&header)?;
        Ok(replay)
    }

    fn unread(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Open { path: path.into(), source })?;
        Ok(Self {
            path: path.into(),
            file: BufReader::new(file),
            lines: 0,
            carried: Carried::default(),
            cut_off_line: None,
            ended: false,
        })
    }

    /// The line that the recorder was writing when it was killed, which was skipped; known once the replay has ended.
    #[must_use]
    pub fn cut_off_line(&self) -> Option<u64> {
        self.cut_off_line
    }

    fn check_header(&self, text: &[u8]) -> Result<(), Error> {
        match serde_json::from_slice::<Header>(text) {
            Ok(Header { trace, version: 1..=VERSION, .. }) if trace == FORMAT => Ok(()),
            Ok(Header { trace, version: version @ 2.., .. }) if trace == FORMAT => {
                Err(Error::TooNew { path: self.path.clone(), version })
            }
            _ => Err(self.not_a_trace()),
        }
    }

    fn observation(&mut self) -> Result<Option<Observation>, Error> {
        let (text, whole) = match self.text()? {
            Text::Whole(text) => (text, true),
            Text::Unfinished(text) => (text, false),
            Text::End => return Ok(None),
        };
        match serde_json::from_slice::<Line>(&text) {
            Ok(line) => Ok(Some(self.carried.observation(line))),
            Err(error) if whole => Err(self.malformed(&error)),
            Err(_) => {
                self.cut_off_line = Some(self.lines);
                Ok(None)
            }
        }
    }

    fn text(&mut self) -> Result<Text, Error> {
        self.lines += 1;
        let mut text = Vec::new();
        let read = self.file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text);
        let read =
            read.map_err(|source| Error::Read { path: self.path.clone(), line: self.lines, source })?;
        match text.last() {
            None => Ok(Text::End),
            Some(b'\n') => Ok(Text::Whole(text)),
            Some(_) if u64::try_from(read).is_ok_and(|read| read < LONGEST_LINE) => {
                Ok(Text::Unfinished(text))
            }
            Some(_) => Err(Error::Malformed {
                path: self.path.clone(),
                line: self.lines,
                column: 0,
                problem: format!("it is too long, expected at most {LONGEST_LINE} bytes"),
            }),
        }
    }

    fn not_a_trace(&self) -> Error {
        Error::NotATrace { path: self.path.clone() }
    }

    fn malformed(&self, error: &serde_json::Error) -> Error {
        let text = error.to_string();
        // The reader saw this line only and calls it the first.
        let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
        Error::Malformed {
            path: self.path.clone(),
            line: self.lines,
            column: error.column(),
            problem: problem.into(),
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Observation, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.observation().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
