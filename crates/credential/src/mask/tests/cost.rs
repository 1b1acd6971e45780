//! The cost of the most hostile answers: four times the text, four times the steps, and few of them a byte.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};

use super::{
    super::{Mask, steps, walk},
    SECRET, hex, message, wrapped,
};
use crate::secret::Secret;

/// Four times the text may take so many times the steps, in tenths.
const GROWTH: u64 = 45;
/// So many steps a byte of text, whatever it is.
const EACH: u64 = 40;

/// Secrets that answers can be made hostile with: one like any other, and some that hold their own beginning again.
fn secrets() -> Vec<String> {
    vec![
        SECRET.to_owned(),
        "a".repeat(60) + "b",
        "ab".repeat(20) + "aab",
        "aaaaaaab".to_owned(),
        "pass\"word\\with\ttab".to_owned(),
        "-----BEGIN KEY-----\nQUJDREVGR0g=\nSUpLTE1OT1A=\n-----END KEY-----".to_owned(),
    ]
}

/// Every way a secret is written.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let percent = |byte: u8| format!("%{byte:02X}");
    let mut forms = vec![
        secret.to_owned(),
        hex(bytes),
        hex(bytes).to_uppercase(),
        bytes.iter().map(|byte| percent(*byte)).collect(),
        bytes.iter().map(|byte| format!("&#{byte};")).collect(),
        bytes
            .iter()
            .map(|byte| format!("\\u00{byte:02x}"))
            .collect(),
        bytes.iter().map(|byte| format!("%25{byte:02x}")).collect(),
        serde_json::to_string(secret).unwrap(),
    ];
    forms.push(URL_SAFE.encode(secret));
    for before in ["", "u", "us"] {
        forms.push(STANDARD.encode(format!("{before}{secret}")));
        forms.push(wrapped(
            &STANDARD.encode(format!("{before}{secret}")),
            64,
            "\r\n",
        ));
    }
    forms
}

/// Pieces that cost most when they come again and again.
fn pieces(secrets: &[String]) -> Vec<String> {
    let mut pieces: Vec<String> = [
        "\\",
        "\"",
        "\n",
        "\n \t",
        "\\n",
        "\\\\n",
        "\\\\\\u0041",
        "a",
        "=",
        "aaaaaaa ",
        "%",
        "&",
        "&#",
        "%25",
        "%2525252525252525",
        "%61",
        "\\u0061",
        "\\\\\\\\u0061",
        "%5C",
        "&amp;amp;amp;#97;",
        "%\n61",
    ]
    .map(str::to_owned)
    .to_vec();
    for form in secrets.iter().flat_map(|secret| forms(secret)) {
        let cut = |end: usize| form.get(..end.min(form.len())).unwrap_or_default();
        for piece in [cut(6), cut(form.len() / 2), cut(form.len() - 1), &form] {
            pieces.push(piece.to_owned());
        }
        pieces.push(format!("{} ", cut(7)));
        pieces.push(format!("{form}\n"));
        pieces.extend(form.get(3..).map(str::to_owned));
    }
    pieces
}

/// The piece as one string, as many strings, as keys and as numbers, about `length` bytes of it.
fn messages(piece: &str, length: usize) -> Vec<String> {
    let many = length / piece.len() + 1;
    let one = piece.repeat(many);
    let strings = vec![piece; many];
    let keys: serde_json::Map<_, _> = (0..many)
        .map(|number| {
            (
                format!("{piece}{number:06}"),
                serde_json::Value::from(piece),
            )
        })
        .collect();
    let escaped: String = one
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    vec![
        message(&[&one]),
        message(&strings),
        serde_json::Value::from(keys).to_string(),
        format!(r#"{{"a":"{escaped}"}}"#),
        message(&[&serde_json::Value::from(one.as_str()).to_string()]),
    ]
}

/// The quick look and the walk, which otherwise follows only where the look found something.
fn cost(mask: &Mask, json: &str) -> u64 {
    let mut cuts = Vec::new();
    steps::of(|| {
        mask.suspects(json.as_bytes());
        // Twice, so that what the first left open is followed.
        for _ in 0..2 {
            walk::masked(mask, json.as_bytes(), &mut cuts);
        }
    })
}

#[test]
fn no_answer_costs_more_than_its_length() {
    let secrets = secrets();
    let all = secrets
        .iter()
        .map(|secret| Secret::new(secret.clone().into()));
    let all: Vec<Secret> = all.collect();
    let mask = Mask::new(all.iter()).ok().unwrap();
    let mut worst = 0;
    for piece in pieces(&secrets) {
        let small = messages(&piece, 800);
        let large = messages(&piece, 3_200);
        for (shape, (small, large)) in small.iter().zip(&large).enumerate() {
            let (few, many) = (cost(&mask, small), cost(&mask, large));
            let shown: String = piece.chars().take(40).collect();
            let grown = large.len() as u64 * 10 / small.len() as u64;
            assert!(
                many * 10 <= few.max(10_000) * GROWTH.max(grown + 5),
                "{shown:?} in shape {shape}: {few} steps for {} bytes, {many} for {}",
                small.len(),
                large.len()
            );
            let each = many / (2 * large.len() as u64);
            worst = worst.max(each);
            assert!(
                each <= EACH,
                "{shown:?} in shape {shape}: {each} steps a byte"
            );
        }
    }
    assert!(worst > 1, "the steps are counted");
}

#[test]
fn a_credential_repeated_in_base64_is_masked_at_its_length() {
    let mask = Mask::new([Secret::new(SECRET.into())].iter()).ok().unwrap();
    let text = STANDARD.encode(SECRET.repeat(2_000));
    for json in [message(&[&text]), message(&[&text.replace('=', " ")])] {
        let masked = mask.message(json.as_bytes(), &mut Vec::new()).unwrap();
        assert!(masked.bytes.len() < json.len() / 100);
        assert!(cost(&mask, &json) / (json.len() as u64) < EACH);
    }
}
