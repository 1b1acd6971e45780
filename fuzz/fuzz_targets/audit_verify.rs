//! A file of a good audit log is replaced by what the fuzzer likes: verifying never panics, and never calls a log whole
//! that is not what it was.
#![no_main]

use std::{fs, path::PathBuf, sync::OnceLock, time::SystemTime};

use keepgate_audit::{Kind, Log, PublicKey, Record, Settings, Verdict, verify};
use libfuzzer_sys::fuzz_target;

struct Good {
    directory: PathBuf,
    key: PublicKey,
    files: Vec<(PathBuf, Vec<u8>)>,
}

static GOOD: OnceLock<Good> = OnceLock::new();

/// A closed log of a few calls, kept for the life of the process.
fn good() -> Good {
    let directory = std::env::temp_dir().join(format!("keepgate-fuzz-audit-{}", std::process::id()));
    let _fresh = fs::remove_dir_all(&directory);
    let log = Log::open(Settings::new(&directory, "keepgate.test/fuzz", "fuzz")).expect("a log");
    for call in 0..20 {
        let decision = format!("00000000-0000-7000-8000-{call:012}");
        for kind in [Kind::CallIntent, Kind::CallOutcome] {
            let mut record = Record::new(kind, SystemTime::now());
            record.decision_id = Some(&decision);
            log.post(&record);
        }
    }
    log.close();
    let key = log.public_key();
    let mut files = Vec::new();
    collect(&directory, &mut files);
    files.sort();
    Good { directory, key, files }
}

fn collect(directory: &PathBuf, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "private" {
            collect(&path, files);
        } else if path.is_file() && name != "lock" && name != "log.pub" {
            let bytes = fs::read(&path).expect("a file");
            files.push((path, bytes));
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let good = GOOD.get_or_init(good);
    let Some((&pick, content)) = input.split_first() else { return };
    let Some((path, was)) = good.files.get(usize::from(pick) % good.files.len()) else { return };
    // Half of the inputs change one byte of what was there, so that deep checks are reached.
    let changed = match content {
        [0, at, by, ..] if !was.is_empty() => {
            let mut changed = was.clone();
            let at = usize::from(*at) * 7 % changed.len();
            changed[at] ^= by;
            changed
        }
        other => other.to_vec(),
    };
    fs::write(path, &changed).expect("written");
    let report = verify(&good.directory, &good.key, &[]);
    fs::write(path, was).expect("restored");
    if changed != *was {
        let whole = report.is_ok_and(|report| report.verdict() == Verdict::Sound);
        assert!(!whole, "a changed {} was not noticed", path.display());
    }
});
