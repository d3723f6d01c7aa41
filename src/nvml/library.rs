//! Where the driver's library is.
//!
//! The library must be of the same version as the kernel driver, so it is never shipped with us: the container runtime
//! or a mount of the host puts it somewhere.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::error::NvmlError;

use super::error::{Error, Subject};
use super::watch::Watch;

/// The library's name, which the loader looks up in `LD_LIBRARY_PATH` and its cache.
const NAME: &str = "libnvidia-ml.so.1";

/// Where the library is when the loader does not know it.
const DIRECTORIES: [&str; 6] = [
    // Mounted from the host on GKE.
    "/usr/local/nvidia/lib64",
    // The driver container of the GPU operator.
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/run/nvidia/driver/usr/lib/aarch64-linux-gnu",
    "/run/nvidia/driver/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

/// Where the loader looks by itself, beside `LD_LIBRARY_PATH`.
const LOADER_DIRECTORIES: [&str; 5] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/lib/wsl/lib"];

/// Finds the NVIDIA driver's library without loading it; `None` when there is none.
///
/// With `library` only that file counts. This looks at files alone and takes microseconds: it tells whether this
/// may be a GPU node, not whether the driver works.
#[must_use]
pub fn find_library(library: Option<&Path>) -> Option<PathBuf> {
    let search_path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    library.map_or_else(|| find_in(directories(&search_path)), |path| path.exists().then(|| path.to_owned()))
}

/// Loads and initialises the first library that works.
///
/// A driver that has no GPU is not a failure. When none works, the error is that of the first library that could be
/// loaded, because it says more than that others are not there.
pub(super) fn open(library: Option<&Path>, watch: &Watch) -> Result<Nvml, Error> {
    let candidates = library.map_or_else(candidates, |path| vec![path.to_owned()]);
    let mut failure = None;
    let mut absence = NvmlError::LibraryNotFound;
    for path in &candidates {
        match initialise(path.as_os_str(), watch) {
            Ok(nvml) => return Ok(nvml),
            Err(error @ NvmlError::LibloadingError(_)) => absence = error,
            Err(error) => failure = failure.or(Some(Error::initialise(&path.to_string_lossy(), error))),
        }
        if watch.is_over() {
            break;
        }
    }
    Err(failure.unwrap_or_else(|| Error::NoLibrary { tried: listed(&candidates), source: Arc::new(absence) }))
}

/// Drivers of before 2019 do not know `nvmlInitWithFlags`, and with `nvmlInit_v2` a node without GPUs looks like one
/// without a driver.
fn initialise(path: &OsStr, watch: &Watch) -> Result<Nvml, NvmlError> {
    watch.enter("nvmlInitWithFlags", &Subject::Driver);
    match Nvml::builder().lib_path(path).flags(InitFlags::NO_GPUS).init() {
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => {
            watch.enter("nvmlInit_v2", &Subject::Driver);
            Nvml::builder().lib_path(path).init()
        }
        other => other,
    }
}

fn candidates() -> Vec<PathBuf> {
    let known = DIRECTORIES.iter().map(|directory| Path::new(directory).join(NAME));
    std::iter::once(PathBuf::from(NAME)).chain(known).collect()
}

fn directories(search_path: &OsStr) -> impl Iterator<Item = PathBuf> {
    let searched = std::env::split_paths(search_path).filter(|directory| directory.is_absolute());
    searched
        .chain(LOADER_DIRECTORIES.iter().chain(&DIRECTORIES).map(PathBuf::from))
        .collect::<Vec<_>>()
        .into_iter()
}

fn find_in(mut directories: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    directories.find_map(|directory| Some(directory.join(NAME)).filter(|path| path.exists()))
}

fn listed(paths: &[PathBuf]) -> Arc<str> {
    paths.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(", ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let empty = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let search = || vec![empty.path().to_owned(), directory.path().to_owned()].into_iter();
        assert_eq!(find_in(search()), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(find_in(search()), Some(path.clone()));
        assert_eq!(find_library(Some(&path)), Some(path.clone()));
        assert_eq!(find_library(Some(&empty.path().join(NAME))), None, "only the named one counts");
        let joined = std::env::join_paths(search()).unwrap();
        assert_eq!(find_in(directories(&joined)), Some(path));
    }

    #[test]
    fn the_loader_is_asked_first() {
        let candidates = candidates();
        assert_eq!(candidates.first().and_then(|path| path.to_str()), Some("libnvidia-ml.so.1"));
        assert!(candidates.contains(&PathBuf::from("/usr/local/nvidia/lib64/libnvidia-ml.so.1")));
    }
}
