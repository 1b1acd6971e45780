//! What is masked, in which forms and pieces, and that nothing else is touched.

mod cost;
mod keys;
mod nested;

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};

use super::{Cut, MASK, Mask};
use crate::secret::Secret;

const SECRET: &str = "x7Qp-2LdV9mZ_kTa81+cReW/45=";

fn mask_of(secret: &str) -> Arc<Mask> {
    Arc::new(Mask::new([Secret::new(secret.into())].iter()).ok().unwrap())
}

/// A message with `texts` as fragments of content, each escaped as `serde_json` does.
fn message(texts: &[&str]) -> String {
    let content: Vec<_> = texts
        .iter()
        .map(|text| serde_json::json!({"type": "text", "text": text}))
        .collect();
    serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": {"content": content}}).to_string()
}

fn masked(mask: &Arc<Mask>, json: &str) -> Option<String> {
    masked_after(mask, json, &mut Vec::new())
}

fn masked_after(mask: &Arc<Mask>, json: &str, tails: &mut Vec<Cut>) -> Option<String> {
    let masked = mask.message(json.as_bytes(), tails)?;
    let text = String::from_utf8(masked.bytes.to_vec()).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|_| panic!("{text}"));
    Some(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_form_is_masked() {
    let mask = mask_of(SECRET);
    let percent = "x7Qp-2LdV9mZ_kTa81%2BcReW%2F45%3D";
    let mut forms = vec![
        SECRET.to_owned(),
        format!("Bearer {SECRET}"),
        percent.to_owned(),
        percent
            .to_lowercase()
            .replace("x7qp-2ldv9mz_kta81", "x7Qp-2LdV9mZ_kTa81")
            .replace("crew", "cReW"),
        hex(SECRET.as_bytes()),
        hex(SECRET.as_bytes()).to_uppercase(),
    ];
    for before in ["", "u", "us", "user:"] {
        for after in ["", "x", "xy"] {
            let whole = format!("{before}{SECRET}{after}");
            forms.push(STANDARD.encode(&whole));
            forms.push(URL_SAFE.encode(&whole));
        }
    }
    for form in forms {
        let text = format!("before {form} after");
        let out = masked(&mask, &message(&[&text])).unwrap_or_else(|| panic!("{form}"));
        assert!(
            out.contains(&format!("before {}", MASK))
                || out.contains(&format!("before Bearer {MASK}")),
            "{form}: {out}"
        );
        assert!(out.contains(" after"), "{form}: {out}");
        assert!(!out.contains("kTa81"), "{form}: {out}");
    }
}

/// A text in lines of `width` characters.
fn wrapped(text: &str, width: usize, end: &str) -> String {
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(width)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    lines.join(end)
}

#[test]
fn wrapping_hides_nothing() {
    let long = SECRET.repeat(9);
    for secret in [SECRET, &long] {
        let mask = mask_of(secret);
        for before in [
            "",
            "u",
            "us",
            "user:",
            "a much longer text before it, of many words:",
        ] {
            let forms = [
                STANDARD.encode(format!("{before}{secret} and after")),
                URL_SAFE.encode(format!("{before}{secret} and after")),
                hex(secret.as_bytes()),
                secret.to_owned(),
            ];
            for (form, width) in forms
                .iter()
                .flat_map(|form| [(form, 76), (form, 64), (form, 4), (form, 1)])
            {
                // As it is, and as it is in JSON within a string, once and twice.
                for end in [
                    "\n",
                    "\r\n",
                    "\n\t  ",
                    "\\n",
                    "\\r\\n",
                    "\\\\n",
                    "\\\\r\\\\n    ",
                ] {
                    let text = format!("data:{end}{}{end}done", wrapped(form, width, end));
                    let json = message(&[&text]);
                    let out = masked(&mask, &json).unwrap_or_else(|| panic!("{width} {text:?}"));
                    let text = texts(&out).remove(0);
                    assert!(
                        text.starts_with("data:") && text.ends_with("done"),
                        "{text:?}"
                    );
                    assert!(
                        !text.contains(&form[form.len() / 2 - 4..form.len() / 2 + 4]),
                        "{text:?}"
                    );
                    let parts: usize = text.matches(MASK).count();
                    assert!(parts >= 1, "{text:?}");
                }
            }
        }
    }
}

#[test]
fn a_secret_of_several_lines_is_masked_however_it_is_wrapped() {
    let key = "-----BEGIN KEY-----\nQUJDREVGR0hJSktM\nTU5PUFFSU1RVVldY\n-----END KEY-----";
    let mask = mask_of(key);
    for text in [
        key.to_owned(),
        key.replace('\n', "\r\n"),
        key.replace('\n', "\\n"),
        key.replace('\n', ""),
        key.replace('\n', "\n    "),
        STANDARD.encode(key),
    ] {
        let out = masked(&mask, &message(&[&text])).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(texts(&out), [MASK], "{text}");
    }
}

#[test]
fn lines_that_are_wrapped_over_events_are_masked() {
    let mask = mask_of(SECRET);
    let text = wrapped(&STANDARD.encode(format!("user:{SECRET}")), 12, "\n");
    for size in 8..text.len() {
        let mut cuts = Vec::new();
        let mut shown = String::new();
        for piece in text.as_bytes().chunks(size) {
            let piece = std::str::from_utf8(piece).unwrap();
            let progress = serde_json::json!({"method": "n", "params": {"message": piece}});
            let progress = progress.to_string();
            let out = masked_after(&mask, &progress, &mut cuts).unwrap_or(progress);
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            shown.push_str(value["params"]["message"].as_str().unwrap());
        }
        // What stands before the secret, less than six bytes of its beginning, and what pads its end.
        let left = shown.replace(MASK, "").replace('\n', "");
        assert!(left.len() <= 7 + 5 + 3, "pieces of {size}: {shown:?}");
    }
}

#[test]
fn escapes_hide_nothing() {
    let mask = mask_of(SECRET);
    let escaped: String = SECRET
        .bytes()
        .map(|byte| format!("\\u{byte:04x}"))
        .collect();
    let slashed = SECRET.replace('/', "\\/").replace('+', "\\u002B");
    for text in [escaped, slashed] {
        let json = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":"x {text} y"}}}}"#);
        let out = masked(&mask, &json).unwrap_or_else(|| panic!("{json}"));
        assert!(out.contains(&format!("x {MASK} y")), "{out}");
    }
    // A secret that JSON has to escape; in a string, and in JSON that stands in a string.
    let odd = "pass\"word\\with\ttab";
    let mask = mask_of(odd);
    let nested = serde_json::json!({"password": odd}).to_string();
    for text in [odd, nested.as_str()] {
        let out = masked(&mask, &message(&[text])).unwrap();
        assert!(out.contains(MASK) && !out.contains("with"), "{out}");
    }
}

#[test]
fn what_holds_no_secret_is_not_touched() {
    let mask = mask_of(SECRET);
    for text in [
        "nothing at all",
        "x7Qp alone is chance",
        "x7Qp-2LdV9mZ_kTa81+cReW/4 and then something else",
        "7Qp-2LdV9mZ is within a line: 7Qp-2LdV9mZ",
        "\u{1f600} \u{e9} \"quoted\" \\ back",
        "",
    ] {
        assert_eq!(masked(&mask, &message(&[text])), None, "{text}");
    }
    let json = message(&["a \"b\" \n c", SECRET, "d \u{e9}"]);
    let out = masked(&mask, &json).unwrap();
    assert_eq!(out, json.replace(SECRET, MASK), "every other byte stays");
}

#[test]
fn pieces_in_fragments_of_one_message_are_masked() {
    let mask = mask_of(SECRET);
    for at in 1..SECRET.len() {
        let (first, second) = SECRET.split_at(at);
        let out = masked(
            &mask,
            &message(&[&format!("log: {first}"), &format!("{second} end")]),
        )
        .unwrap_or_else(|| panic!("cut at {at}"));
        let told: Vec<String> = texts(&out);
        // Less than six bytes at either end of a cut may show.
        let left = told[0].strip_prefix("log: ").unwrap();
        assert!(left == MASK || left.len() < 6, "{at}: {told:?}");
        let right = told[1].strip_suffix(" end").unwrap();
        assert!(right == MASK, "{at}: {told:?}");
    }
}

#[test]
fn pieces_in_events_of_a_stream_are_masked() {
    let mask = mask_of(SECRET);
    for size in 6..=SECRET.len() {
        let mut tails = Vec::new();
        let mut shown = String::new();
        for piece in SECRET.as_bytes().chunks(size) {
            let piece = std::str::from_utf8(piece).unwrap();
            let progress = serde_json::json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": "t", "progress": 1, "message": piece}})
            .to_string();
            let out = masked_after(&mask, &progress, &mut tails).unwrap_or(progress);
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            shown.push_str(value["params"]["message"].as_str().unwrap());
        }
        assert_eq!(shown.replace(MASK, ""), "", "pieces of {size}: {shown}");
    }
}

#[test]
fn a_cut_is_followed_to_another_place_of_the_message() {
    let mask = mask_of(SECRET);
    let mut tails = Vec::new();
    let (first, second) = SECRET.split_at(12);
    let progress = serde_json::json!({"method": "n", "params": {"message": format!("a {first}")}});
    assert!(masked_after(&mask, &progress.to_string(), &mut tails).is_some());
    let out = masked_after(&mask, &message(&[second]), &mut tails).unwrap();
    assert_eq!(texts(&out), [MASK]);
    // And is over then.
    assert_eq!(masked_after(&mask, &message(&[second]), &mut tails), None);
}

#[test]
fn lines_of_a_log_are_masked() {
    let mask = mask_of(SECRET);
    let line = mask.line(
        &format!("token={SECRET}; {}", hex(SECRET.as_bytes())),
        &mut Vec::new(),
    );
    assert_eq!(
        line.as_deref(),
        Some(format!("token={MASK}; {MASK}").as_str())
    );
    assert_eq!(mask.line("token=none", &mut Vec::new()), None);
}

#[test]
fn a_new_secret_and_the_one_before_are_both_masked() {
    let secrets = [SECRET, "the-one-before-it"].map(|text| Secret::new(text.into()));
    let mask = Arc::new(Mask::new(secrets.iter()).ok().unwrap());
    let out = masked(&mask, &message(&[SECRET, "the-one-before-it"])).unwrap();
    assert_eq!(texts(&out), [MASK, MASK]);
}

#[test]
fn random_messages_stay_json() {
    let mask = mask_of("aaaaaaab");
    let mut seed = 7_u64;
    for _ in 0..2000 {
        let mut text = String::new();
        for _ in 0..40 {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            text.push(['a', 'b', '"', '\\', '\n', 'a', 'a', '\u{e9}'][(seed >> 60) as usize % 8]);
        }
        let json = message(&[&text, &text]);
        let out = masked(&mask, &json).unwrap_or(json);
        assert!(
            !texts(&out).iter().any(|text| text.contains("aaaaaaab")),
            "{text:?}"
        );
    }
}

fn texts(json: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let content = value["result"]["content"].as_array().unwrap();
    let text = |part: &serde_json::Value| part["text"].as_str().unwrap().to_owned();
    content.iter().map(text).collect()
}
