//! The machine that tests run on: its programs, its ports, and tests it cannot run. A test that finds something missing
//! reports so here and returns; it never passes in silence.
//!
//! `make test` names a file in [`FILE`] and each skip becomes a line of it. The lines are printed after the last test, and
//! the run fails unless `ALLOW_SKIPS=1`: a green run of a machine that lacks half the programs must not look like a whole one.

#![expect(clippy::panic, reason = "a harness fails its test by panicking")]

use std::{
    env, fmt,
    fs::{self, OpenOptions},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

/// The variable with the path of the file that collects the skips of a run.
pub const FILE: &str = "SKIPPED_TESTS";

/// Programs of the system that tests start, with their packages. `tests/peers/system.sh` reads the same list.
const LIST: &str = include_str!("../../peers/apt.txt");

/// Directories that `PATH` of an ordinary user leaves out.
const BESIDE: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Records that the calling test cannot run, and why. The test returns right after.
pub fn skip(reason: impl fmt::Display) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}: {reason}\n");
    // Not `eprintln`: the test harness keeps what a passing test prints to itself.
    let mut loud = std::io::stderr();
    let printed = loud.write_all(format!("SKIPPED {line}").as_bytes());
    let file = env::var_os(FILE).map(PathBuf::from);
    let kept = file.map(|path| append(&path, &line));
    // With neither, the skip would be a silent pass.
    assert!(
        matches!(kept, Some(Ok(()))) || (kept.is_none() && printed.is_ok()),
        "failed to record a skip: {line}"
    );
}

/// Appends in one write: test binaries and their threads share the file.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(line.as_bytes())
}

/// Returns the path of a program of `tests/peers/apt.txt`; `None`, with the skip recorded, where it is not installed.
///
/// # Panics
/// On a program that is not in the list: then nobody would learn to install it.
pub fn installed(name: &str) -> Option<PathBuf> {
    let package = package(name);
    assert!(
        package.is_some(),
        "`{name}` is not listed in tests/peers/apt.txt"
    );
    let found = find(name);
    if found.is_none() {
        skip(format_args!(
            "`{name}` is not installed (package {})",
            package.unwrap_or_default()
        ));
    }
    found
}

/// Programs and packages of the list.
pub fn listed() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIST.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
}

fn package(name: &str) -> Option<&'static str> {
    listed()
        .find(|(program, _)| *program == name)
        .map(|(_, package)| package)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(BESIDE.map(PathBuf::from));
    places
        .chain(unpacked())
        .chain(databases())
        .map(|place| place.join(name))
        .find(|path| path.is_file())
}

/// Directories of the programs that `make peers` takes out of packages without installing them.
fn unpacked() -> impl Iterator<Item = PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root.parent().and_then(Path::parent);
    ["bin", "sbin"]
        .into_iter()
        .filter_map(move |kind| Some(root?.join(".peers/unpacked/package/usr").join(kind)))
}

/// Directories of PostgreSQL's programs on Debian, one for each major version, the highest first.
fn databases() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| std::cmp::Reverse(number(path)));
    versions.into_iter().map(|path| path.join("bin")).collect()
}

/// Returns a port of the loopback interface on which nobody listens, for a program that takes a fixed one only.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    // Below the range from which the kernel hands out ports (32768 and up on Linux): a port from there can be given to
    // somebody else between this look and the program's own bind. The process id keeps test binaries that run at once separate.
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = process::id().wrapping_mul(97);
    let free = (0..COUNT).find_map(|_| {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + number).ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    });
    let Some(free) = free else {
        panic!("no port is free");
    };
    free
}
