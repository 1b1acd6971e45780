//! A bundle of any bytes is taken or refused with a reason: it never panics, never takes long, and what is taken is what
//! a strict reader would take. The bytes are tried as they are, and as the tar inside a sound gzip, with sound checksums.
#![no_main]

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use keepgate_jose::{Algorithm, MacAlgorithm, SigningKey};
use keepgate_policy::Settings;
use keepgate_policy::bundle::{BundleSource, Root, Trusted, Verification, sign};
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"a secret of the fuzz target, and nobody else's";

fuzz_target!(|bytes: &[u8]| {
    let unsigned = BundleSource::held("b", None);
    let key = SigningKey::read(Algorithm::Mac(MacAlgorithm::Hs256), SECRET).expect("a key");
    let trusted = Trusted {
        id: None,
        key: key.verifying(),
        scope: None,
    };
    let signed = BundleSource::held("b", Verification::new(vec![trusted]));
    let mut zip = GzEncoder::new(Vec::new(), Compression::none());
    zip.write_all(&mended(bytes)).expect("memory");
    let zipped = zip.finish().expect("memory");
    let settings = Settings::default();
    for bundle in [bytes, &zipped] {
        let taken = match unsigned.examine(bundle, &settings) {
            Ok(about) => about,
            Err(errors) => {
                assert!(!errors.problems.is_empty());
                continue;
            }
        };
        // Nobody signed it.
        assert!(taken.signed.is_none() && signed.examine(bundle, &settings).is_err());
        let mut names = taken.files.clone();
        for name in &names {
            let odd = |step: &str| matches!(step, "" | "." | "..");
            assert!(
                !name.split('/').any(odd) && !name.contains(['\\', '\0', '\n']),
                "{name:?}"
            );
        }
        names.sort_by_key(|name| name.to_lowercase());
        names.dedup_by_key(|name| name.to_lowercase());
        assert_eq!(names.len(), taken.files.len());
        // What can be read can be signed and read again, if its data are JSON to all.
        if let Ok(again) = sign(bundle, &key, Some("k"), None, None) {
            let about = signed.examine(&again, &settings).expect("what was signed");
            let roots = |roots: &[Root]| roots.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(roots(&about.roots), roots(&taken.roots));
            assert_eq!(about.files.len(), taken.files.len() + 1);
            assert!(unsigned.examine(&again, &settings).is_err());
        }
    }
});

/// The tar with the checksum of every block that looks like a header: no fuzzer guesses those.
fn mended(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    for block in tar.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    tar
}
