//! Bodies as gzip, whole and damaged, in pieces of every size.

use std::io::Write;

use flate2::{Compression, GzBuilder, write::GzEncoder};
use proptest::prelude::*;

use super::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A member with everything a header can have.
fn adorned(text: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new()
        .extra("extra")
        .filename("name")
        .comment("comment");
    let mut encoder = builder.write(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    let mut whole = encoder.finish().unwrap();
    // With the header's own checksum, which the builder does not write.
    let end = whole
        .windows(8)
        .position(|part| part == b"comment\0")
        .unwrap()
        + 8;
    whole[3] |= Header::CHECKSUM;
    whole.splice(end..end, [1, 2]);
    whole
}

/// Inflates `bytes` in pieces of `size`.
fn inflate(bytes: &[u8], size: usize) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Inflate::new(&Budget::default()).unwrap();
    let mut whole = Vec::new();
    for piece in bytes.chunks(size) {
        inflater.push(Bytes::copy_from_slice(piece));
        while let Some(piece) = inflater.next()? {
            assert!(piece.len() <= PIECE);
            whole.extend_from_slice(&piece);
        }
    }
    inflater.end().map(|()| whole)
}

#[test]
fn gzip_is_inflated_in_pieces_of_every_size() {
    let long: Vec<u8> = (0..200_000_u32)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let two = [gzip(b"one, "), gzip(b""), adorned(b"two")].concat();
    for size in [1, 2, 7, 4096, usize::MAX] {
        assert_eq!(inflate(&[], size), Ok(Vec::new()));
        assert_eq!(inflate(&gzip(b""), size), Ok(Vec::new()));
        assert_eq!(inflate(&gzip(b"text"), size), Ok(b"text".to_vec()));
        assert_eq!(inflate(&two, size), Ok(b"one, two".to_vec()));
        assert_eq!(inflate(&gzip(&long), size), Ok(long.clone()));
    }
}

#[test]
fn what_is_not_whole_gzip_is_refused() {
    let good = gzip(b"a text that is long enough to be cut anywhere");
    for cut in 1..good.len() {
        assert_eq!(
            inflate(&good[..cut], 5),
            Err(InflateError::Truncated),
            "{cut}"
        );
    }
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        let at = (good.len() + at) % good.len();
        bytes[at] ^= 0x40;
        bytes
    };
    let wrong = [
        b"{\"jsonrpc\":\"2.0\"}".to_vec(),
        // Magic, method, reserved flags, checksum, length.
        flipped(0),
        flipped(2),
        flipped(3),
        flipped(good.len() - 8),
        flipped(good.len() - 1),
        // Something after it.
        [good.clone(), b"more".to_vec()].concat(),
        // A name without an end.
        [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0][..], &[b'a'; 8192]].concat(),
    ];
    for bytes in wrong {
        assert_eq!(
            inflate(&bytes, 3),
            Err(InflateError::Malformed),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_bomb_is_refused_before_it_is_whole() {
    // Little text may be all blanks.
    let blanks = vec![b' '; 60 * 1024];
    assert_eq!(inflate(&gzip(&blanks), 512), Ok(blanks));
    let bomb = gzip(&vec![b' '; 64 << 20]);
    for size in [1, 512, usize::MAX] {
        let mut inflater = Inflate::new(&Budget::default()).unwrap();
        let mut made = 0;
        let refused = bomb.chunks(size).find_map(|piece| {
            inflater.push(Bytes::copy_from_slice(piece));
            loop {
                match inflater.next() {
                    Ok(Some(piece)) => made += piece.len(),
                    Ok(None) => return None,
                    Err(error) => return Some(error),
                }
            }
        });
        assert_eq!(refused, Some(InflateError::Ratio));
        let most = bomb.len() * 100 + 2 * PIECE + 64 * 1024;
        assert!(made <= most, "{made} of {most}");
    }
}

/// It would pass every limit on what comes out, and cost a reset for each member of it.
#[test]
fn gzip_that_brings_nothing_is_refused() {
    let member = gzip(b"");
    let empty_block = [0, 0, 0, 0xff, 0xff];
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let blocks = [&header[..], &empty_block.repeat(100_000)].concat();
    for (barren, unit) in [(member.repeat(100_000), member.len()), (blocks, 5)] {
        let mut inflate = Inflate::new(&Budget::default()).unwrap();
        let mut taken = 0;
        let mut refused = None;
        for chunk in barren.chunks(1_000) {
            inflate.push(Bytes::copy_from_slice(chunk));
            taken += chunk.len();
            match inflate.next() {
                Ok(None) => {}
                Ok(Some(piece)) => panic!("{piece:?}"),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        assert_eq!(refused, Some(InflateError::Barren), "{unit}");
        assert!(taken < 32 * 1024, "{taken}");
    }
    // Some are part of what servers send: a flush before anything is there, a member without content.
    let few = [member.repeat(20), gzip(b"text"), member.repeat(20)].concat();
    assert_eq!(inflate(&few, 7).unwrap(), b"text");
}

#[test]
fn an_inflater_is_counted() {
    let memory = Budget::new(INFLATER);
    let first = Inflate::new(&memory).unwrap();
    assert!(Inflate::new(&memory).is_err());
    drop(first);
    assert_eq!(memory.left(), Some(INFLATER));
}

#[test]
fn one_coding_is_gzip_and_no_other_is_read() {
    for (lines, read) in [
        (&[][..], Ok(false)),
        (&["identity"], Ok(false)),
        (&["gzip"], Ok(true)),
        (&["GZip"], Ok(true)),
        (&["x-gzip"], Ok(true)),
        (&["identity, gzip"], Ok(true)),
        (&["br"], Err("br")),
        (&["deflate"], Err("deflate")),
        (&["gzip, gzip"], Err("more than one")),
        (&["gzip", "br"], Err("more than one")),
        (&["a`b\tc"], Err("abc")),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CONTENT_ENCODING, line.parse().unwrap());
        }
        let expected = read.map_err(|name: &str| UnknownCoding(name.to_owned()));
        assert_eq!(is_gzip(&headers), expected, "{lines:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_inflated_wrongly(bytes: Vec<u8>, size in 1_usize..64) {
        prop_assert_eq!(inflate(&gzip(&bytes), size), Ok(bytes.clone()));
        // Nothing random is gzip; what matters is that it ends.
        prop_assert!(bytes.is_empty() || inflate(&bytes, size).is_err());
        let damaged = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0][..], &bytes].concat();
        prop_assert!(inflate(&damaged, size).is_err());
    }
}
