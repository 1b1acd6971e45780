//! Tokens of any bytes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::{Compact, Header, MalformedToken, UnreadableHeader, encode};

fn with_header(header: &str) -> String {
    encode(header.as_bytes(), b"{}", |signed| {
        Ok::<_, ()>(signed.to_vec())
    })
    .unwrap()
}

#[test]
fn headers_are_strict_objects_with_an_algorithm() {
    use UnreadableHeader::{Critical, Malformed};
    for (header, error) in [
        ("", Malformed),
        ("[]", Malformed),
        ("{}", Malformed),
        (r#"{"alg":1}"#, Malformed),
        (r#"{"alg":"ES256","kid":1}"#, Malformed),
        (r#"{"alg":"ES256","typ":null}"#, Malformed),
        (r#"{"alg":"ES256","alg":"none"}"#, Malformed),
        (r#"{"alg":"ES256","crit":[]}"#, Critical),
    ] {
        let token = with_header(header);
        let token = Compact::decode(token.as_bytes()).unwrap();
        assert_eq!(token.header(), Err(error), "{header}");
    }
    let token =
        with_header(r#"{"alg":"ES256","kid":"k","typ":"at+jwt","jku":"https://evil.example"}"#);
    let token = Compact::decode(token.as_bytes()).unwrap();
    let read = Header {
        algorithm: "ES256".into(),
        key_id: Some("k".into()),
        kind: Some("at+jwt".into()),
    };
    assert_eq!(token.header(), Ok(read));
}

#[test]
fn a_token_has_three_parts_in_one_spelling() {
    for token in [
        "",
        ".",
        "..",
        "e30.e30",
        "e30.e30.e30.e30",
        "e30=.e30.e30",
        "e31.e30.e30",
        "e 30.e30.e30",
        "e+/.e30.e30",
    ] {
        let decoded = Compact::decode(token.as_bytes()).map(|_| ());
        // Three empty parts are three parts; their header is no object.
        let expected = if token == ".." {
            Ok(())
        } else {
            Err(MalformedToken)
        };
        assert_eq!(decoded, expected, "{token}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(token) = Compact::decode(&bytes) {
            drop(token.header());
        }
    }

    #[test]
    fn no_texts_make_the_parser_panic(header in ".{0,80}", payload in ".{0,80}", made in "[A-Za-z0-9_-]{0,40}") {
        let text = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.{made}", text(&header), text(&payload));
        if let Ok(token) = Compact::decode(token.as_bytes()) {
            prop_assert_eq!(token.payload(), payload.as_bytes());
            drop(token.header());
        }
    }
}
