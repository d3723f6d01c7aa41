//! A driver library of its own for each test.

use std::ffi::{CString, OsString, c_char};
use std::fs;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use fake_nvml::{Board, Node};
use libloading::Library;
use tempfile::TempDir;

/// A driver that obeys a test.
///
/// It is a copy of the fake library in a directory of its own: another file is another library with its own statics, so
/// that tests with different nodes run side by side.
pub(crate) struct FakeDriver {
    directory: TempDir,
    library: ManuallyDrop<Library>,
}

// === impl FakeDriver ===

impl FakeDriver {
    /// A driver with this node.
    pub(crate) fn new(node: &Node) -> Self {
        Self::without(&[], node)
    }

    /// A driver that was made before these functions were: its library has no such symbols.
    pub(crate) fn without(functions: &[&str], node: &Node) -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let path = Self::path_in(directory.path());
        Self::install(&path, functions);
        let driver = Self { directory, library: ManuallyDrop::new(open(&path)) };
        driver.set(node);
        driver
    }

    /// Puts a driver library at `path`, which knows no node yet.
    pub(crate) fn install(path: &Path, missing: &[&str]) {
        let mut image = fs::read(built_library()).expect("read the fake library");
        for function in missing {
            hide(&mut image, function);
        }
        let new = path.with_extension("new");
        fs::write(&new, image).expect("write the library");
        fs::rename(new, path).expect("put the library in place");
    }

    /// Tells the library that somebody installed at `path` which node it is on.
    pub(crate) fn adopt(directory: TempDir) -> Self {
        let library = open(&Self::path_in(directory.path()));
        Self { directory, library: ManuallyDrop::new(library) }
    }

    /// Where the library of a driver in `directory` is.
    pub(crate) fn path_in(directory: &Path) -> PathBuf {
        directory.join("libnvidia-ml.so.1")
    }

    /// The path to give to a client.
    pub(crate) fn library(&self) -> PathBuf {
        Self::path_in(self.directory.path())
    }

    /// Changes the node.
    #[expect(unsafe_code, reason = "the library is C")]
    pub(crate) fn set(&self, node: &Node) {
        type Load = unsafe extern "C" fn(*const c_char, usize) -> i32;
        let json = node.to_json();
        // SAFETY: the symbol has this signature, and the text lives until the call returns.
        let code = unsafe {
            let load = self.library.get::<Load>(b"fake_nvml_load\0").expect("find fake_nvml_load");
            load(json.as_ptr().cast(), json.len())
        };
        assert_eq!(code, 0, "the fake library understands its own descriptions");
    }

    /// How often a function was called.
    #[expect(unsafe_code, reason = "the library is C")]
    pub(crate) fn calls(&self, function: &str) -> u64 {
        type Calls = unsafe extern "C" fn(*const c_char) -> u64;
        let name = CString::new(function).expect("a name without NUL");
        // SAFETY: the symbol has this signature, and the name lives until the call returns.
        unsafe {
            let calls = self.library.get::<Calls>(b"fake_nvml_calls\0").expect("find fake_nvml_calls");
            calls(name.as_ptr())
        }
    }
}

impl Drop for FakeDriver {
    /// Lets every thread go that hangs in the library. The library itself stays loaded under them.
    fn drop(&mut self) {
        self.set(&Node::default());
    }
}

#[expect(unsafe_code, reason = "a library is loaded")]
fn open(path: &Path) -> Library {
    // SAFETY: the fake library runs no code when it is loaded.
    unsafe { Library::new(path) }.expect("load the fake library")
}

/// The environment of a program that gives the exporter a driver with one GPU.
pub(crate) fn one_gpu() -> [(&'static str, OsString); 2] {
    let description = Node::new([Board::h100_80gb(0)]).to_json();
    [("FAKE_NVML_LIBRARY", built_library().into()), ("FAKE_NVML_DESCRIPTION", description.into())]
}

/// Cargo builds the library next to the tests' own executable.
pub(crate) fn built_library() -> PathBuf {
    let name = OsString::from("libfake_nvml.so");
    let executable = std::env::current_exe().expect("know the test's own executable");
    let directory = executable.parent().expect("an executable is in a directory");
    let places = [directory.join(&name), directory.join("deps").join(&name)];
    places.into_iter().find(|path| path.exists()).expect("the fake library was built with the tests")
}

/// Renames a symbol in the library's string table, so that the loader finds another name where its hash says.
fn hide(image: &mut [u8], function: &str) {
    let entry: Vec<u8> = [b"\0", function.as_bytes(), b"\0"].concat();
    let places: Vec<usize> = image
        .windows(entry.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == entry)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{function} is a symbol of the fake library");
    for place in places {
        image[place + 1] = b'x';
    }
}
