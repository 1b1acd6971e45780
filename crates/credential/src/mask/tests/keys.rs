//! Secrets cut by keys and numbers, which are strings of a text like any other.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Cut, MASK, SECRET, hex, mask_of, masked, masked_after, message};

/// Encodings of the secret.
fn forms() -> Vec<String> {
    vec![
        SECRET.to_owned(),
        hex(SECRET.as_bytes()),
        hex(SECRET.as_bytes()).to_uppercase(),
        STANDARD.encode(SECRET),
    ]
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Objects that hold two parts, one after the other in the text, at least one of them as a key.
fn shapes(one: &str, other: &str) -> Vec<String> {
    let (one, other) = (quoted(one), quoted(other));
    [
        format!("{{{one}:{other}}}"),
        format!("{{{one}:1,{other}:2}}"),
        format!("{{\"x\":{one},{other}:2}}"),
        format!("{{{one}:{{\"description\":{other}}}}}"),
        format!("{{{one}:[1,{{{other}:true}}]}}"),
        format!("[{{{one}:1}},{{{other}:2}}]"),
        format!("[{one},{{{other}:2}}]"),
    ]
    .map(|inner| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"structuredContent":{inner}}}}}"#))
    .to_vec()
}

/// Whether so many bytes of `part` come one after the other in `out`.
fn shows(out: &str, part: &str, bytes: usize) -> bool {
    let windows = part.as_bytes().windows(bytes);
    let mut windows = windows.map(|window| std::str::from_utf8(window).unwrap());
    windows.any(|window| out.contains(window))
}

#[test]
fn keys_cut_a_secret_as_strings_do() {
    let mask = mask_of(SECRET);
    for form in forms() {
        for at in 6..form.len() {
            let (one, other) = form.split_at(at);
            for json in shapes(&format!("token {one}"), other) {
                let out = masked(&mask, &json).unwrap_or_else(|| panic!("{at}: {json}"));
                assert!(!shows(&out, one, 6), "{at}: {json} gave {out}");
                // Under six bytes of it may be chance, except in the value of the key that began it.
                assert!(
                    other.len() < 6 || !shows(&out, other, 6),
                    "{at}: {json} gave {out}"
                );
            }
            let json = &shapes(one, other)[0];
            let out = masked(&mask, json).unwrap();
            let shown = format!("{{\"{MASK}\":\"{MASK}\"}}");
            // Padding and the last bits of base64 stay.
            assert!(out.contains(&shown) || at + 3 >= form.len(), "{at}: {out}");
        }
    }
}

#[test]
fn a_key_that_holds_most_of_a_secret_is_masked_without_what_is_left_of_it() {
    let mask = mask_of(SECRET);
    for bytes in 6..SECRET.len() {
        let json = format!(
            r#"{{"jsonrpc":"2.0","method":"n","params":{{"data":{{{}:1}}}}}}"#,
            quoted(&SECRET[..bytes])
        );
        let out = masked(&mask, &json).unwrap_or_else(|| panic!("{json}"));
        assert!(out.contains(&format!("\"{MASK}\":1")), "{out}");
    }
}

#[test]
fn keys_of_events_go_on_with_what_those_before_began() {
    let mask = mask_of(SECRET);
    let event = |key: &str| {
        format!(
            r#"{{"method":"n","params":{{"data":{{{}:1}}}}}}"#,
            quoted(key)
        )
    };
    for size in 6..SECRET.len() {
        let mut cuts: Vec<Cut> = Vec::new();
        let mut shown = String::new();
        for piece in SECRET.as_bytes().chunks(size) {
            let json = event(std::str::from_utf8(piece).unwrap());
            shown += &masked_after(&mask, &json, &mut cuts).unwrap_or(json);
        }
        assert_eq!(shown.replace(&event(MASK), ""), "", "pieces of {size}");
    }
    // As far away as 64 strings, whatever keys are between.
    let mut cuts = Vec::new();
    masked_after(&mask, &event(&SECRET[..12]), &mut cuts).unwrap();
    let keys: String = (0..500).map(|number| format!("\"k{number}\":1,")).collect();
    let json = format!("{{{keys}{}:1}}", quoted(&SECRET[12..]));
    let out = masked_after(&mask, &json, &mut cuts).unwrap();
    assert!(out.ends_with(&format!("\"{MASK}\":1}}")), "{out}");
}

#[test]
fn an_escape_that_a_key_cuts_goes_on_in_its_value() {
    let mask = mask_of(SECRET);
    let escaped: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for at in 18..escaped.len() {
        let (one, other) = escaped.split_at(at);
        for json in [&shapes(one, other)[0], &shapes(one, other)[1]] {
            let out = masked(&mask, json).unwrap_or_else(|| panic!("{json}"));
            assert!(!shows(&out, one, 18), "{at}: {out}");
            assert!(other.len() < 18 || !shows(&out, other, 18), "{at}: {out}");
        }
    }
}

#[test]
fn numbers_cut_a_secret_of_digits() {
    let mask = mask_of("923456789912345678");
    for json in [
        r#"{"a":923456789,"b":912345678}"#,
        r#"{"a":"923456789","b":912345678}"#,
        r#"{"923456789":912345678}"#,
        r#"[923456789,912345678]"#,
    ] {
        let out = masked(&mask, json).unwrap_or_else(|| panic!("{json}"));
        assert!(!out.contains("345678"), "{json} gave {out}");
    }
}

#[test]
fn keys_and_numbers_are_masked_too() {
    let mask = mask_of("12345678901");
    let out = masked(
        &mask,
        r#"{"jsonrpc":"2.0","id":1,"result":{"12345678901":12345678901,"b":[1,12345678901 ]}}"#,
    )
    .unwrap();
    assert!(!out.contains("12345678901"), "{out}");
    assert!(out.contains(&format!("\"{MASK}\":\"{MASK}\"")), "{out}");
}

#[test]
fn keys_stay_where_a_value_only_begins_a_secret() {
    let mask = mask_of(SECRET);
    // The next bytes of the secret, a few of them: chance in another place.
    let json = message(&[&SECRET[..8]]).replace("\"type\"", &quoted(&SECRET[8..12]));
    let out = masked(&mask, &json).unwrap();
    assert!(out.contains(&quoted(&SECRET[8..12])), "{out}");
}
