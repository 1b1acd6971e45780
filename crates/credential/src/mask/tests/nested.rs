//! Escapes of every kind, mixed character by character and nested: whatever a reader resolves, the secret is not there.

use serde_json::Value;

use super::{
    super::{MASK, Written, reading::Texts, view::View},
    SECRET, mask_of, masked, masked_after, message,
};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// Digits in random cases.
    fn cased(&mut self, digits: &str) -> String {
        let mut cased = String::new();
        for digit in digits.chars() {
            cased.push(match self.below(2) {
                0 => digit.to_ascii_uppercase(),
                _ => digit,
            });
        }
        cased
    }

    /// Each character as it is or in an escape of any kind.
    fn mixed(&mut self, text: &str) -> String {
        let mut out = String::new();
        for character in text.chars() {
            let unit = self.cased(&format!("{:04x}", u32::from(character)));
            let short = self.cased(&format!("{:x}", u32::from(character)));
            let two = self.cased(&format!("{:02x}", u32::from(character)));
            out.push_str(&match self.below(10) {
                0 | 1 => format!("%{two}"),
                2 | 3 => format!("\\u{unit}"),
                4 => format!("\\x{two}"),
                5 => format!("&#{};", u32::from(character)),
                6 => format!("&#x{short};"),
                7 => format!("\\u{{{short}}}"),
                8 if "\"\\/".contains(character) => format!("\\{character}"),
                8 if character == '&' => "&amp;".to_owned(),
                8 if character == '<' => "&lt;".to_owned(),
                _ if "\"\\%&<".contains(character) => format!("%{two}"),
                _ => character.to_string(),
            });
        }
        out
    }

    /// The text in one more layer. Its writer escapes what it has to, and whatever else it likes, each character always or
    /// never.
    fn layer(&mut self, text: &str) -> String {
        let (kind, likes, taste) = (self.below(3), 1 + self.below(5), self.below(1_000));
        let mut out = String::new();
        for character in text.chars() {
            let code = u32::from(character);
            let two = match taste % 2 {
                0 => format!("{code:02x}"),
                _ => format!("{code:02X}"),
            };
            let wants = (code as usize * 7 + taste) % 6 < likes && character.is_ascii();
            out.push_str(&match (kind, character) {
                (0, '\\' | '"') => format!("\\{character}"),
                (0, _) if wants && !character.is_alphanumeric() => format!("\\u00{two}"),
                (1, _) if wants || "\\%\"".contains(character) => format!("%{two}"),
                (2, '&') => "&amp;".to_owned(),
                (2, _) if wants && !character.is_alphanumeric() && character != '\\' => {
                    format!("&#{code};")
                }
                _ => character.to_string(),
            });
        }
        out
    }

    /// A string of JSON with escapes nobody needs.
    fn string(&mut self, text: &str) -> String {
        let plain = serde_json::to_string(text).unwrap();
        let mut out = String::new();
        let mut is_escape = false;
        for character in plain.chars() {
            let may = character.is_ascii_alphanumeric() && !is_escape && plain.len() < 2_000;
            out.push_str(&match self.below(6) {
                0 if may => self
                    .cased(&format!("{:04x}", u32::from(character)))
                    .replacen("", "\\u", 1),
                _ => character.to_string(),
            });
            is_escape = character == '\\' && !is_escape;
        }
        out
    }

    fn secret(&mut self) -> String {
        let alphabet =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~+/=!$()*, :;?@#\"<>";
        let length = 10 + self.below(30);
        // The first character is a letter no escape is completed by.
        let mut secret = self.pick(&["s", "K", "z", "Q"]).to_owned();
        for _ in 0..length {
            let at = self.below(alphabet.len());
            secret.push_str(&alphabet[at..=at]);
        }
        secret.push('x');
        secret
    }
}

/// A pass of a simple reader for each kind, until nothing changes: not the one under test.
fn decoded(text: &str) -> Vec<String> {
    let mut all = vec![text.to_owned()];
    loop {
        let last = all.last().unwrap();
        let next = html(&url(&json(last)));
        if next == *last {
            return all;
        }
        all.push(next);
    }
}

fn json(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = |from: usize, to: usize| {
            let digits = rest.get(from..to)?;
            let value = u32::from_str_radix(digits, 16).ok();
            Some((char::from_u32(value?)?, to))
        };
        let found = match rest.as_bytes().get(1) {
            Some(b'u') if rest[2..].starts_with('{') => rest.find('}').and_then(|end| {
                let (character, _) = digits(3, end)?;
                Some((character, end + 1))
            }),
            Some(b'u') => digits(2, 6),
            Some(b'x') => digits(2, 4),
            Some(b'n') => Some(('\n', 2)),
            Some(byte @ (b'"' | b'\\' | b'/')) => Some((char::from(*byte), 2)),
            _ => None,
        };
        let (character, length) = found.unwrap_or(('\\', 1));
        out.push(character);
        rest = &rest[length..];
    }
    out + rest
}

fn url(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value.filter(|_| byte == b'%') {
            Some(value) => {
                out.push(value);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn html(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end < 12);
        let found = end.and_then(|end| {
            let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
            let character = match &rest[1..end] {
                "amp" => '&',
                "lt" => '<',
                body if body.starts_with("#x") => char::from_u32(number(&body[2..], 16)?)?,
                body if body.starts_with('#') => char::from_u32(number(&body[1..], 10)?)?,
                _ => return None,
            };
            Some((character, end + 1))
        });
        let (character, length) = found.unwrap_or(('&', 1));
        out.push(character);
        rest = &rest[length..];
    }
    out + rest
}

const HOLE: &str = "HOLE";

/// A text with the hole in it, in JSON within JSON `depth` times.
fn template(dice: &mut Dice, depth: usize) -> String {
    let words = [
        "error: ",
        "token ",
        "100% of ",
        "a & b ",
        "https://x.example/?q=",
        "{\"k\": \"",
        "\n",
        "é ",
        "C:\\dir ",
        "",
        "\u{1f600} ",
        "<b>",
        "'",
        "%20",
        "\\d ",
    ];
    let before = dice.pick(&words);
    let text = format!(
        "{}{before}\u{20}{HOLE} {}",
        dice.pick(&words),
        dice.pick(&words)
    );
    (0..depth).fold(text, |text, _| {
        serde_json::json!({"url": text, "other": dice.pick(&words)}).to_string()
    })
}

#[test]
fn any_mix_of_escapes_is_masked_and_all_else_stays() {
    let mut dice = Dice(11);
    for round in 0..3_000 {
        let secret = dice.secret();
        let mask = mask_of(&secret);
        let depth = dice.below(4);
        let nested = dice.below(3);
        let template = template(&mut dice, nested);
        // As deep as the document, a writer escapes what JSON has to.
        let shown = dice.mixed(&secret);
        let shown = (0..depth).fold(shown, |shown, _| dice.layer(&shown));
        let shown = (0..nested).fold(shown, |shown, _| {
            let quoted = serde_json::to_string(&shown).unwrap();
            quoted[1..quoted.len() - 1].to_owned()
        });
        let text = template.replace(HOLE, &shown);
        let key = dice.below(4) == 0;
        let document = |text: &str, dice: &mut Dice| {
            let (one, other) = (dice.string(text), dice.string("plain \u{e9} & 100%"));
            let (one, other) = if key { (other, one) } else { (one, other) };
            format!("{{\"jsonrpc\": \"2.0\", \"id\": 1,\"result\":{{{other}:[1.50, {one},null]}}}}")
        };
        let original = document(&text, &mut dice);
        let expected = document(&template.replace(HOLE, MASK), &mut dice);
        let out = masked(&mask, &original).unwrap_or_else(|| {
            panic!(
                "{round}: {secret:?} in {original}: {}",
                String::from_utf8_lossy(Texts::new(original.as_bytes(), Written::AsJson).text())
            )
        });
        for reading in decoded(&out) {
            assert!(!reading.contains(&secret), "{round}: {secret:?} in {out}");
        }
        let (out, expected): (Value, Value) = (
            serde_json::from_str(&out).unwrap(),
            serde_json::from_str(&expected).unwrap(),
        );
        assert_eq!(out, expected, "{round}: {secret:?} in {original}");
    }
}

/// The same character by character: each of these is one writer's way.
fn ways(secret: &str) -> Vec<String> {
    let each = |way: fn(u32) -> String| secret.chars().map(|it| way(u32::from(it))).collect();
    let mut ways: Vec<String> = [
        (|it| format!("%{it:02x}")) as fn(u32) -> String,
        |it| format!("%{it:02X}"),
        |it| format!("%25{it:02x}"),
        |it| format!("%2525{it:02X}"),
        |it| format!("\\u{it:04x}"),
        |it| format!("\\u{it:04X}"),
        |it| format!("\\\\u{it:04x}"),
        |it| format!("\\\\\\\\u{it:04x}"),
        |it| format!("\\u0025{it:02x}"),
        |it| format!("%5Cu{it:04x}"),
        |it| format!("%u{it:04x}"),
        |it| format!("\\x{it:02x}"),
        |it| format!("\\u{{{it:x}}}"),
        |it| format!("&#{it};"),
        |it| format!("&#x{it:X};"),
        |it| format!("&#x0{it:x};"),
        |it| format!("&amp;#{it};"),
        |it| format!("%26%23{it}%3B"),
        |it| {
            if it % 2 == 0 {
                format!("%{it:02x}")
            } else {
                format!("\\u{it:04x}")
            }
        },
        |it| match char::from_u32(it) {
            Some(character) if it % 3 == 0 => character.to_string(),
            _ => format!("%{it:02X}"),
        },
    ]
    .map(each)
    .to_vec();
    ways.push(secret.replace('/', "\\/").replace('+', "%2b"));
    ways.push(secret.bytes().map(|byte| format!("{byte:02x}")).collect());
    let digits = ways[ways.len() - 1].clone();
    ways.push(
        digits
            .char_indices()
            .map(|(at, it)| {
                if at % 3 == 0 {
                    it.to_ascii_uppercase()
                } else {
                    it
                }
            })
            .collect(),
    );
    ways
}

#[test]
fn every_character_in_an_escape_is_masked() {
    let mask = mask_of(SECRET);
    for way in ways(SECRET) {
        for text in [
            way.clone(),
            format!("say {way}, please"),
            serde_json::json!({"a": way}).to_string(),
        ] {
            let out = masked(&mask, &message(&[&text])).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                out,
                message(&[&text
                    .replace(&way, MASK)
                    .replace(&way.replace('\\', "\\\\"), MASK)])
            );
            let line = mask
                .line(&text, &mut Vec::new())
                .unwrap_or_else(|| panic!("{text}"));
            assert!(line.contains(MASK), "{line}");
        }
    }
}

#[test]
fn a_cut_within_an_escape_hides_nothing() {
    let mask = mask_of(SECRET);
    for way in ways(SECRET) {
        for sizes in 1..way.len() {
            // Two pieces cut at each place; then pieces of each size.
            let many: Vec<&str> = [&way[..sizes], &way[sizes..]].to_vec();
            let even: Vec<&str> = (0..way.len())
                .step_by(sizes)
                .map(|at| &way[at..way.len().min(at + sizes)])
                .collect();
            for (pieces, is_even) in [(many, false), (even, true)] {
                if is_even && sizes < way.len() / SECRET.len() * 9 {
                    continue;
                }
                let mut cuts = Vec::new();
                let mut shown = String::new();
                for piece in &pieces {
                    let progress = serde_json::json!({"method": "n", "params": {"message": piece}});
                    let progress = progress.to_string();
                    let out = masked_after(&mask, &progress, &mut cuts).unwrap_or(progress);
                    let value: Value = serde_json::from_str(&out).unwrap();
                    shown.push_str(value["params"]["message"].as_str().unwrap());
                }
                for reading in decoded(&shown) {
                    let bytes = SECRET.as_bytes().windows(6);
                    let left = bytes.map(|six| std::str::from_utf8(six).unwrap());
                    for six in left {
                        assert!(!reading.contains(six), "{pieces:?}: {shown:?} holds {six}");
                    }
                }
            }
        }
    }
}

#[test]
fn spaces_of_forms_are_spaces() {
    let mask = mask_of("correct horse battery staple");
    for text in [
        "correct+horse+battery+staple",
        "correct%20horse+battery%20staple",
        "c%6Frrect+horse%2bbattery\\u0020staple",
        "a%20b correct horse battery staple",
    ] {
        let out = masked(&mask, &message(&[text])).unwrap_or_else(|| panic!("{text}"));
        assert!(out.contains(MASK) && !out.contains("horse"), "{out}");
    }
}

#[test]
fn secrets_that_look_like_escapes_are_masked() {
    for secret in [
        "a%41bcdefg",
        "100%sure&amp;1",
        "C:\\new\\table",
        "ends-in-a-%",
        "ends-in-a-\\",
        "&#65;bcdefghi",
        "n0tasecret",
        "u0041abcdefg",
        "41secret%",
        "%41%42%43%44",
        "\\u0041\\u0042",
        "d83dabcdefgh",
    ] {
        let mask = mask_of(secret);
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let once = serde_json::json!({"k": secret}).to_string();
        for (text, after) in [
            (secret, ""),
            (secret, "41"),
            (secret, "n"),
            (&percent, ""),
            (&percent, " 41"),
            (&once, ""),
        ] {
            // Less than eight bytes are left of it.
            if text != secret && secret.starts_with("%41") {
                continue;
            }
            for before in ["", " ", "\\", "%", "\\\\"] {
                // A bare sign before an escape, and a secret that goes on with it: see the docs.
                if text != secret && !before.trim().is_empty() {
                    continue;
                }
                let text = format!("{before}{text}{after}");
                let out =
                    masked(&mask, &message(&[&text])).unwrap_or_else(|| panic!("{secret}: {text}"));
                assert!(!out.contains(&message(&[secret])[60..]), "{out}");
            }
        }
    }
}

#[test]
fn halves_of_surrogates_and_characters_stay_whole() {
    let mask = mask_of("d83dabcdefgh");
    let json = r#"{"a":"{\"b\":\"\\ud83dabcdefgh\"}"}"#;
    let out = masked(&mask, json).unwrap();
    assert_eq!(out, format!(r#"{{"a":"{{\"b\":\"{MASK}\"}}"}}"#));
    let mask = mask_of("secret-\u{1f600}-secret");
    for json in [
        r#"{"a":"x secret-\ud83d\ude00-secret \ud83d\ude00"}"#,
        r#"{"a":"x secret-%F0%9F%98%80-secret \ud83d\ude00"}"#,
        r#"{"a":"x secret-\\ud83d\\uDE00-secret \ud83d\ude00"}"#,
        r#"{"a":"x secret-&#128512;-secret \ud83d\ude00"}"#,
        r#"{"a":"x secret-&#x1f600;-secret \ud83d\ude00"}"#,
    ] {
        let out = masked(&mask, json).unwrap_or_else(|| panic!("{json}"));
        assert_eq!(
            out,
            format!(r#"{{"a":"x {MASK} \ud83d\ude00"}}"#),
            "the rest is as it was written"
        );
    }
}

#[test]
fn one_reading_of_json_is_what_every_reader_reads() {
    let mut dice = Dice(5);
    for _ in 0..2_000 {
        let length = dice.below(20);
        let text: String = (0..length)
            .map(|_| {
                dice.pick(&[
                    "a",
                    "\\",
                    "\"",
                    "\n",
                    "é",
                    "\u{1f600}",
                    "%41",
                    "u0041",
                    "/",
                    "&amp;",
                ])
            })
            .collect();
        let json = dice.string(&text);
        let raw = &json.as_bytes()[1..json.len() - 1];
        let read = View::json(raw);
        let read = read.as_ref().map_or(raw, View::text);
        assert_eq!(read, text.as_bytes(), "{json}");
    }
}
