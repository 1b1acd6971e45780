//! Who is believed, and what of.

use super::super::archive::Entry;
use super::super::canonical;
use super::super::signature::{self, sign};
use keepgate_jose::{Algorithm, MacAlgorithm, SignatureAlgorithm as A, SigningKey, VerifyingKey};

use super::*;

const ES256: Algorithm = Algorithm::Signature(A::Es256);
const ES384: Algorithm = Algorithm::Signature(A::Es384);
const RS256: Algorithm = Algorithm::Signature(A::Rs256);
const HS256: Algorithm = Algorithm::Mac(MacAlgorithm::Hs256);

/// Keys made for these tests alone, with `openssl genpkey`.
const P256: &str = include_str!("p256.pem");
const P384: &str = include_str!("p384.pem");
const RSA: &str = include_str!("rsa.pem");
const ED25519: &str = include_str!("ed25519.pem");
const SECRET: &[u8] = include_bytes!("secret.txt");

fn key(algorithm: Algorithm) -> SigningKey {
    let file = match algorithm {
        ES256 => P256.as_bytes(),
        ES384 => P384.as_bytes(),
        Algorithm::Signature(A::EdDsa) => ED25519.as_bytes(),
        Algorithm::Mac(_) => SECRET,
        Algorithm::Signature(_) => RSA.as_bytes(),
    };
    SigningKey::read(algorithm, file).unwrap()
}

fn believes(algorithm: Algorithm, id: Option<&str>, scope: Option<&str>) -> Verification {
    Verification::new(vec![trusted(algorithm, id, scope)]).unwrap()
}

fn trusted(algorithm: Algorithm, id: Option<&str>, scope: Option<&str>) -> Trusted {
    Trusted {
        id: id.map(str::to_owned),
        key: key(algorithm).verifying(),
        scope: scope.map(str::to_owned),
    }
}

fn entries() -> Vec<Entry> {
    vec![
        entry(".manifest", r#"{"revision": "1"}"#),
        entry("a.rego", RULES),
        entry("x/data.json", r#"{"b": [1, 2.50], "a": "<é>"}"#),
    ]
}

/// The entries with a signature by ES256 that names the key `k` and has no scope.
fn signed() -> Vec<Entry> {
    let mut entries = entries();
    entries.push(sign(&entries, &key(ES256), Some("k"), None, Some(5)).unwrap());
    entries
}

fn verdict(entries: &[Entry], verification: Option<&Verification>) -> Result<bool, String> {
    match signature::verify(entries, verification) {
        Ok(signed) => Ok(signed.is_some()),
        Err(errors) => {
            let told = errors
                .iter()
                .map(|(file, error)| format!("{file}: {error}"));
            Err(told.collect::<Vec<_>>().join("; "))
        }
    }
}

#[test]
fn every_algorithm_signs_for_itself_alone() {
    for algorithm in Algorithm::all() {
        let mut files = entries();
        files.push(sign(&files, &key(algorithm), None, Some("write"), None).unwrap());
        for other in Algorithm::all() {
            let found = verdict(&files, Some(&believes(other, None, Some("write"))));
            if other == algorithm {
                assert_eq!(found, Ok(true), "{algorithm:?}");
            } else {
                let told = format!(
                    ".signatures.json: signature is of another algorithm than the key, `{}`",
                    algorithm.as_str()
                );
                assert_eq!(found, Err(told), "{algorithm:?} {other:?}");
            }
        }
        // What is handed on is the packed form.
        let packed = write::archive(&entries()).unwrap();
        let packed = write::sign(&packed, &key(algorithm), None, Some("write"), None).unwrap();
        let again = write::sign(&packed, &key(algorithm), None, Some("write"), None).unwrap();
        let source = BundleSource::held("b", Some(believes(algorithm, None, Some("write"))));
        let about = source.examine(&again, &Settings::default()).unwrap();
        assert_eq!(about.signed.unwrap().algorithm, algorithm);
    }
}

#[test]
fn signed_and_unsigned_are_not_the_same() {
    let known = believes(ES256, Some("k"), None);
    assert_eq!(verdict(&entries(), None), Ok(false));
    assert_eq!(verdict(&signed(), Some(&known)), Ok(true));
    assert_eq!(
        verdict(&entries(), Some(&known)),
        Err(".signatures.json: bundle is not signed".to_owned())
    );
    assert_eq!(
        verdict(&signed(), None),
        Err(".signatures.json: bundle is signed, and there is no key to check it with".to_owned())
    );
}

#[test]
fn the_key_is_chosen_by_its_id() {
    let two = |first: &str, second: &str| {
        Verification::new(vec![
            trusted(RS256, Some(first), None),
            trusted(ES256, Some(second), None),
        ])
        .unwrap()
    };
    assert_eq!(verdict(&signed(), Some(&two("other", "k"))), Ok(true));
    assert_eq!(
        verdict(&signed(), Some(&two("k", "other"))),
        Err(".signatures.json: signature is of another algorithm than the key, `ES256`".to_owned())
    );
    let unknown =
        Err(".signatures.json: signature is by a key that is not known, id `k`".to_owned());
    assert_eq!(verdict(&signed(), Some(&two("a", "b"))), unknown);
    assert_eq!(
        verdict(&signed(), Some(&believes(ES256, Some("a"), None))),
        unknown
    );
    assert_eq!(
        verdict(&signed(), Some(&believes(ES256, None, None))),
        Ok(true)
    );
    let mut nameless = entries();
    nameless.push(sign(&nameless, &key(ES256), None, None, None).unwrap());
    assert_eq!(
        verdict(&nameless, Some(&believes(ES256, Some("k"), None))),
        Err(".signatures.json: signature is by a key that is not known, id ``".to_owned())
    );
    let named = |id| trusted(ES256, id, None);
    assert!(Verification::new(vec![]).is_none());
    assert!(Verification::new(vec![named(Some("a")), named(Some("a"))]).is_none());
    assert!(Verification::new(vec![named(Some("a")), named(None)]).is_none());
}

#[test]
fn the_scope_must_be_the_one() {
    let with = |scope: Option<&str>| {
        let mut files = entries();
        files.push(sign(&files, &key(ES256), None, scope, None).unwrap());
        files
    };
    let wants = |scope: Option<&str>| believes(ES256, None, scope);
    assert_eq!(verdict(&with(Some("a")), Some(&wants(Some("a")))), Ok(true));
    assert_eq!(verdict(&with(None), Some(&wants(None))), Ok(true));
    for (signed, wanted) in [(Some("a"), Some("b")), (Some("a"), None), (None, Some("a"))] {
        let told = format!(
            ".signatures.json: signature is for another scope: `{}`",
            signed.unwrap_or_default()
        );
        assert_eq!(verdict(&with(signed), Some(&wants(wanted))), Err(told));
    }
}

#[test]
fn the_set_of_files_must_match_exactly() {
    let known = believes(ES256, Some("k"), None);
    let mut more = signed();
    more.push(entry(
        "extra.rego",
        "package mcp.authz\nallow contains \"all\" if input\n",
    ));
    assert_eq!(
        verdict(&more, Some(&known)),
        Err("extra.rego: file is not in the signature".to_owned())
    );
    // Also what nobody reads: another version might.
    let mut more = signed();
    more.push(entry("notes.md", ""));
    assert_eq!(
        verdict(&more, Some(&known)),
        Err("notes.md: file is not in the signature".to_owned())
    );
    let mut less = signed();
    less.remove(1);
    assert_eq!(
        verdict(&less, Some(&known)),
        Err("a.rego: file is in the signature and not in the bundle".to_owned())
    );
    for (index, text, told) in [
        (
            0,
            r#"{"revision": "2"}"#,
            ".manifest: file is not as it was signed",
        ),
        (
            1,
            "package mcp.authz\n",
            "a.rego: file is not as it was signed",
        ),
        (
            2,
            r#"{"b": [1, 2.5], "a": "<é>"}"#,
            "x/data.json: file is not as it was signed",
        ),
        (
            2,
            r#"{"a": 1, "a": 1}"#,
            "x/data.json: file cannot be hashed: the same key twice, at byte `9`",
        ),
    ] {
        let mut changed = signed();
        changed[index].bytes = text.as_bytes().to_vec();
        assert_eq!(verdict(&changed, Some(&known)), Err(told.to_owned()));
    }
    // Order of members and white space are no content of data; every byte is of rules.
    let mut same = signed();
    same[2].bytes = "{ \"a\":\"<é>\",\n \"b\":[1,2.50]}".as_bytes().to_vec();
    assert_eq!(verdict(&same, Some(&known)), Ok(true));
    same[1].bytes.push(b'\n');
    assert_eq!(
        verdict(&same, Some(&known)),
        Err("a.rego: file is not as it was signed".to_owned())
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of one case per row")]
fn odd_signature_files_are_refused() {
    let known = believes(ES256, None, None);
    let token = |head: &str, payload: &str| {
        let signing = format!("{}.{}", base64(head), base64(payload));
        let signature = key(ES256).sign(signing.as_bytes()).unwrap();
        let token = format!("{signing}.{}", encoded(&signature));
        format!("{{\"signatures\": [\"{token}\"]}}")
    };
    let es256 = r#"{"alg": "ES256"}"#;
    for (file, told) in [
        (
            String::new(),
            "signature file is not understood: no JSON of its form",
        ),
        (
            "{}".to_owned(),
            "signature file is not understood: no JSON of its form",
        ),
        (
            r#"{"signatures": []}"#.to_owned(),
            "signature file is not understood: expected one token",
        ),
        (
            r#"{"signatures": ["a.b.c", "a.b.c"]}"#.to_owned(),
            "signature file is not understood: expected one token",
        ),
        (
            r#"{"signatures": ["a.b.c"], "plugin": "mine"}"#.to_owned(),
            "signature file is not understood: it wants a plugin",
        ),
        (
            r#"{"signatures": ["a.b"]}"#.to_owned(),
            "signature file is not understood: no token of three parts of base64url",
        ),
        (
            r#"{"signatures": ["a.b.c.d"]}"#.to_owned(),
            "signature file is not understood: no token of three parts of base64url",
        ),
        (
            r#"{"signatures": ["!.b.c"]}"#.to_owned(),
            "signature file is not understood: no token of three parts of base64url",
        ),
        (
            token("[]", "{}"),
            "signature file is not understood: header of the token",
        ),
        (
            token(es256, "{}"),
            "signature file is not understood: payload of the token",
        ),
        (
            token(r#"{"alg": "ES256", "crit": ["x"]}"#, r#"{"files": []}"#),
            "signature file is not understood: token has critical extensions",
        ),
        (
            token(r#"{"alg": "none"}"#, r#"{"files": []}"#),
            "signature is of another algorithm than the key, `none`",
        ),
        (
            token(r#"{"alg": "HS256"}"#, r#"{"files": []}"#),
            "signature is of another algorithm than the key, `HS256`",
        ),
        (
            token(
                es256,
                r#"{"files": [{"name": "a", "hash": "", "algorithm": "SHA-256"}, {"name": "/a", "hash": "", "algorithm": "SHA-256"}]}"#,
            ),
            "signature file is not understood: a file is listed twice",
        ),
    ] {
        let mut files = entries();
        files.push(entry(signature::FILE, &file));
        assert_eq!(
            verdict(&files, Some(&known)),
            Err(format!(".signatures.json: {told}")),
            "{file}"
        );
    }
    for weak in ["MD5", "SHA-1", "SHA-224", "sha256", ""] {
        let payload = format!(
            "{{\"files\": [{{\"name\": \"a.rego\", \"hash\": \"00\", \"algorithm\": \"{weak}\"}}]}}"
        );
        let files = [
            entry("a.rego", RULES),
            entry(signature::FILE, &token(es256, &payload)),
        ];
        let told = format!("a.rego: hash of the file is not one that is taken: `{weak}`");
        assert_eq!(verdict(&files, Some(&known)), Err(told));
    }
    // A byte of the signature, of the payload.
    let text = String::from_utf8(signed()[3].bytes.clone()).unwrap();
    let at = text.rfind('.').unwrap();
    for place in [at + 5, at - 5] {
        let mut bytes = text.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let mut files = signed();
        files[3].bytes = bytes;
        assert!(verdict(&files, Some(&known)).is_err());
    }
}

fn base64(text: &str) -> String {
    encoded(text.as_bytes())
}

fn encoded(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn keys_are_what_they_are_said_to_be() {
    let public = include_bytes!("p256.pub.pem");
    assert!(VerifyingKey::read(ES256, public).is_ok());
    for algorithm in Algorithm::all() {
        if algorithm != ES256 {
            // A public key is no secret: whoever has it could sign.
            assert!(
                VerifyingKey::read(algorithm, public).is_err(),
                "{algorithm:?}"
            );
        }
    }
    let told =
        |algorithm, file: &[u8]| VerifyingKey::read(algorithm, file).unwrap_err().to_string();
    assert_eq!(told(ES256, P256.as_bytes()), "no PEM block `PUBLIC KEY`");
    assert_eq!(told(ES384, public), "key is not one of ES384");
    assert_eq!(told(HS256, b"short\n"), "secret is shorter than 32 bytes");
    assert_eq!(
        told(RS256, include_bytes!("rsa1024.pub.pem")),
        "key is not one of RS256"
    );
    assert!(SigningKey::read(ES256, public).is_err());
    assert!(SigningKey::read(ES384, P256.as_bytes()).is_err());
}

#[test]
fn the_canonical_form_is_as_go_writes_it() {
    for (text, wanted) in [
        (
            r#" { "b" : 1 , "a" : [ true , null , { } , [ ] ] } "#,
            r#"{"a":[true,null,{},[]],"b":1}"#,
        ),
        (
            r#"{"a": 1.0, "b": 1e2, "c": -0, "d": 123456789012345678901234567890}"#,
            r#"{"a":1.0,"b":1e2,"c":-0,"d":123456789012345678901234567890}"#,
        ),
        (
            r#""<a>&\u003cb\u003e\/ \" \\ \n\t\r\b\f\u0001\u2028 \u00e9 \ud83d\ude00""#,
            "\"<a>&<b>/ \\\" \\\\ \\n\\t\\r\\b\\f\\u0001\\u2028 é 😀\"",
        ),
        (
            r#"{"é": 1, "z": 2, "Z": 3, "": 4}"#,
            r#"{"":4,"Z":3,"z":2,"é":1}"#,
        ),
        ("1", "1"),
    ] {
        let found = canonical::json(text).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(found.as_deref(), Ok(wanted), "{text}");
    }
    for text in [
        "",
        "{",
        "[1,]",
        "{\"a\" 1}",
        "\"",
        "\"\\",
        "01",
        "1 2",
        "tru",
        "\"\\ud800\"",
        "{1: 2}",
        "+1",
        "nan",
        "\"\n\"",
    ] {
        assert!(canonical::json(text).is_err(), "{text}");
    }
    assert!(canonical::json(&format!("{}1{}", "[".repeat(70), "]".repeat(70))).is_err());
    let yaml =
        canonical::yaml("b: [1, x]\na: yes\n").map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(yaml.as_deref(), Ok(r#"{"a":"yes","b":[1,"x"]}"#));
}

#[test]
fn aliases_of_yaml_do_not_multiply() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}", n - 1);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![before; 10].join(", ")));
    }
    assert!(canonical::yaml(&bomb).is_err());
}
