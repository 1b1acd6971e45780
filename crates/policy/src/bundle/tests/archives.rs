//! Hostile and odd archives.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::super::archive::{self, Caps, Entry};
use super::super::write;

const CAPS: Caps = Caps {
    compressed: 100_000,
    uncompressed: 100_000,
    entries: 50,
};

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::default());
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap()
}

/// A header of POSIX tar with its checksum, after `change` was made to it.
fn header(name: &[u8], size: usize, kind: u8, change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000644\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    change(&mut block);
    let sum: usize = block.iter().map(|byte| usize::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

/// One entry: its header and its content.
fn part(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name.as_bytes(), content.len(), kind, |_| ());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn read(parts: &[Vec<u8>]) -> Result<Vec<String>, String> {
    told(&zip(&tar(parts)))
}

fn told(bytes: &[u8]) -> Result<Vec<String>, String> {
    match archive::read(bytes, CAPS) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(error) => Err(error.to_string()),
    }
}

fn pax(records: &[&str]) -> Vec<u8> {
    let record = |text: &&str| {
        // The length counts its own digits.
        let mut length = text.len() + 3;
        while length != format!("{length} {text}\n").len() {
            length += 1;
        }
        format!("{length} {text}\n")
    };
    part(
        "PaxHeader",
        b'x',
        records.iter().map(record).collect::<String>().as_bytes(),
    )
}

#[test]
fn what_common_tools_write_is_read() {
    let file = |name: &str| part(name, b'0', b"content");
    assert_eq!(read(&[file("a.rego")]).unwrap(), ["a.rego"]);
    assert_eq!(read(&[file("./a.rego")]).unwrap(), ["a.rego"]);
    assert_eq!(
        read(&[file("/a.rego"), file("/.manifest")]).unwrap(),
        ["a.rego", ".manifest"]
    );
    let folders = [
        part("./", b'5', b""),
        part("./x/", b'5', b""),
        file("./x/a.rego"),
        part("./x/", b'5', b""),
    ];
    assert_eq!(read(&folders).unwrap(), ["x/a.rego"]);
    let long = format!("{}/data.json", "x".repeat(120));
    let path = format!("path={long}");
    assert_eq!(
        read(&[
            pax(&[&path, "mtime=1.5", "SCHILY.xattr.a=b"]),
            file("short")
        ])
        .unwrap(),
        [&*long]
    );
    let gnu = part("././@LongLink", b'L', format!("{long}\0").as_bytes());
    assert_eq!(read(&[gnu, file("short")]).unwrap(), [&*long]);
    let remark = part("pax_global_header", b'g', b"23 comment=0123456789a\n");
    assert_eq!(read(&[remark, file("a.rego")]).unwrap(), ["a.rego"]);
    let prefixed = header(b"a.rego", 0, b'0', |block| {
        block[345..350].copy_from_slice(b"x/y/z")
    });
    assert_eq!(read(&[prefixed]).unwrap(), ["x/y/z/a.rego"]);
    assert_eq!(read(&[]).unwrap(), Vec::<String>::new());
    // An extended header names the entry after it and no other.
    let two = [pax(&["path=one"]), file("x"), file("two")];
    assert_eq!(read(&two).unwrap(), ["one", "two"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of one attack per row")]
fn hostile_archives_are_refused() {
    let file = |name: &str| part(name, b'0', b"x");
    let kind = |kind: u8| {
        header(b"a.rego", 0, kind, |block| {
            block[157..168].copy_from_slice(b"/etc/passwd")
        })
    };
    let plain = "name of an entry is not plain: `";
    for (parts, wanted) in [
        (
            vec![kind(b'1')],
            "entry is neither file nor folder: `a.rego`",
        ),
        (
            vec![kind(b'2')],
            "entry is neither file nor folder: `a.rego`",
        ),
        (
            vec![kind(b'3')],
            "entry is neither file nor folder: `a.rego`",
        ),
        (
            vec![kind(b'4')],
            "entry is neither file nor folder: `a.rego`",
        ),
        (
            vec![kind(b'6')],
            "entry is neither file nor folder: `a.rego`",
        ),
        (
            vec![kind(b'7')],
            "entry is neither file nor folder: `a.rego`",
        ),
        (
            vec![kind(b'K')],
            "entry is neither file nor folder: `a.rego`",
        ),
        (
            vec![kind(b'S')],
            "entry is neither file nor folder: `a.rego`",
        ),
        (
            vec![part("x", b'5', b"y")],
            "entry is neither file nor folder: `x`",
        ),
        (vec![file("../a.rego")], &format!("{plain}../a.rego`")),
        (vec![file("a/../../b")], &format!("{plain}a/../../b`")),
        (vec![file("//etc/passwd")], &format!("{plain}//etc/passwd`")),
        (vec![file("/../x")], &format!("{plain}/../x`")),
        (vec![file("a//b")], &format!("{plain}a//b`")),
        (vec![file("a/./b")], &format!("{plain}a/./b`")),
        (vec![file("a/")], &format!("{plain}a/`")),
        (vec![file("./")], &format!("{plain}./`")),
        (vec![file("")], &format!("{plain}`")),
        (vec![file("a\\b")], &format!("{plain}a\\b`")),
        (vec![file("a\nb")], &format!("{plain}a\nb`")),
        (vec![part("../x/", b'5', b"")], &format!("{plain}../x/`")),
        (vec![file("a"), file("a")], "two entries of one name: `a`"),
        (vec![file("a"), file("./a")], "two entries of one name: `a`"),
        (vec![file("a"), file("a/b")], "two entries of one name: `a`"),
        (vec![file("a/b"), file("a")], "two entries of one name: `a`"),
        (
            vec![file("a.rego"), file("A.rego")],
            "two names that differ in case alone: `A.rego`",
        ),
        (
            vec![file("x/a"), file("X/b")],
            "two names that differ in case alone: `X`",
        ),
        (
            vec![file(&format!("{}x", "a/".repeat(17)))],
            "name of an entry is longer than 256 bytes or 16 folders: `a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/x`",
        ),
        (
            vec![pax(&["size=5"]), file("a")],
            "extended header is not understood, key `size`",
        ),
        (
            vec![pax(&["linkpath=/etc/passwd"]), file("a")],
            "extended header is not understood, key `linkpath`",
        ),
        (
            vec![pax(&["GNU.sparse.major=1"]), file("a")],
            "extended header is not understood, key `GNU.sparse.major`",
        ),
        (
            vec![pax(&["path=a", "path=b"]), file("a")],
            "extended header is not understood, key `path`",
        ),
        (
            vec![pax(&["path=../../x"]), file("a")],
            &format!("{plain}../../x`"),
        ),
        (
            vec![part("g", b'g', b"10 path=x\n"), file("a")],
            "extended header is not understood, key `path`",
        ),
        (
            vec![part("x", b'x', b"99 path=x\n"), file("a")],
            "extended header is not understood, key `wrong length`",
        ),
        (
            vec![part("x", b'x', b"-5 path=x\n"), file("a")],
            "extended header is not understood, key `wrong length`",
        ),
        (
            vec![part("x", b'x', b"2 \n"), file("a")],
            "extended header is not understood, key `wrong record`",
        ),
        (
            vec![part("x", b'x', &[0xff]), file("a")],
            "extended header is not understood, key `not text`",
        ),
        (
            vec![part("x", b'x', &[b' '; 20_000]), file("a")],
            "extended header is not understood, key `too long`",
        ),
        (vec![file("a"); 51], "two entries of one name: `a`"),
        (
            (0..51).map(|n| file(&n.to_string())).collect(),
            "bundle has more than 50 entries",
        ),
        (
            vec![part("d/", b'5', b""); 51],
            "bundle has more than 50 entries",
        ),
        (
            vec![pax(&["mtime=1"]); 51],
            "bundle has more than 50 entries",
        ),
        (
            vec![header(b"a", 5_000, b'0', |_| ())],
            "tar archive is cut off",
        ),
        (
            vec![header(b"a", 0, b'0', |block| {
                block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
            })],
            "not a tar archive, or damaged, at byte `0`",
        ),
        (
            vec![header(b"a", 0, b'0', |block| {
                block[124..136].copy_from_slice(b"-0000000001\0")
            })],
            "not a tar archive, or damaged, at byte `0`",
        ),
        (
            vec![header(b"a", 0, b'0', |block| {
                block[257..265].copy_from_slice(&[0; 8])
            })],
            "not a tar archive, or damaged, at byte `0`",
        ),
        (
            vec![header(&[0xff, 0xfe], 0, b'0', |_| ())],
            "not a tar archive, or damaged, at byte `0`",
        ),
        (
            vec![vec![7; 512]],
            "not a tar archive, or damaged, at byte `0`",
        ),
    ] {
        assert_eq!(read(&parts), Err(wanted.to_owned()));
    }
}

#[test]
fn bytes_before_behind_and_beyond_are_refused() {
    let good = tar(&[part("a.rego", b'0', b"x")]);
    assert_eq!(told(&zip(&good)).unwrap(), ["a.rego"]);
    let mut behind = zip(&good);
    behind.push(0);
    assert_eq!(
        told(&behind),
        Err("bytes follow the end of the archive".to_owned())
    );
    let two = [zip(&good), zip(&good)].concat();
    assert_eq!(
        told(&two),
        Err("bytes follow the end of the archive".to_owned())
    );
    let hidden = [good.clone(), part("b.rego", b'0', b"x")].concat();
    assert_eq!(
        told(&zip(&hidden)),
        Err("bytes follow the end of the archive".to_owned())
    );
    let cut = zip(good.get(..1024).unwrap());
    assert_eq!(told(&cut), Err("tar archive is cut off".to_owned()));
    let half = zip(&good);
    assert_eq!(
        told(half.get(..half.len() - 9).unwrap()),
        Err("not a gzip archive, or damaged".to_owned())
    );
    assert_eq!(
        told(&good),
        Err("not a gzip archive, or damaged".to_owned())
    );
    assert_eq!(told(b""), Err("not a gzip archive, or damaged".to_owned()));
    // A bomb: what a megabyte of zeros packs to is far below the cap of what comes in.
    let bomb = zip(&vec![0; 1 << 20]);
    assert!(bomb.len() < 2_000);
    assert_eq!(
        told(&bomb),
        Err("bundle unpacks to more than 100000 bytes".to_owned())
    );
    assert_eq!(
        told(&[0; 100_001]),
        Err("bundle has more than 100000 bytes".to_owned())
    );
    let mut changed = zip(&good);
    let at = changed.len() - 6;
    changed[at] ^= 1; // the checksum of the content
    assert_eq!(
        told(&changed),
        Err("not a gzip archive, or damaged".to_owned())
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(files in prop::collection::btree_map("[a-z]{1,8}(/[a-z]{1,90}){0,2}\\.x", prop::collection::vec(any::<u8>(), 0..600), 0..8)) {
        let entries: Vec<Entry> = files.into_iter().map(|(name, bytes)| Entry { name, bytes }).collect();
        let bytes = write::archive(&entries).unwrap();
        prop_assert_eq!(archive::read(&bytes, CAPS).unwrap(), entries);
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..2_000), at in 0..1_536_usize, byte: u8) {
        drop(told(&bytes));
        drop(told(&zip(&bytes)));
        let mut good = tar(&[pax(&["path=abc"]), part("a.rego", b'0', b"x")]);
        if let Some(place) = good.get_mut(at) {
            *place = byte;
        }
        drop(told(&zip(&good)));
    }
}
