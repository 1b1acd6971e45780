//! Secrets that are known by their looks: the one list, for obligations that redact them and for what leaves in decision logs.

use std::sync::LazyLock;

use regex::Regex;

use crate::obligations::PatternClass;

/// RFC 7617. Not among the classes authors name: in prose the word is followed by other words.
const BASIC: &str = r"(?i)\bbasic[ \t:=]+[A-Za-z0-9+/]{12,}=*";

/// The form of a secret as a regular expression; none for what is no secret.
pub const fn secret(class: PatternClass) -> Option<&'static str> {
    match class {
        PatternClass::Email
        | PatternClass::Card
        | PatternClass::Iban
        | PatternClass::Ssn
        | PatternClass::Phone
        | PatternClass::Ipv4 => None,
        // RFC 7519 in the compact form: a header that is a JSON object, a payload, perhaps a signature.
        PatternClass::Jwt => {
            Some(r"eyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]{5,}(?:\.[A-Za-z0-9_\-]*){0,3}")
        }
        // The prefixes of IAM's unique identifiers.
        PatternClass::AwsAccessKey => {
            Some("(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA|AGPA|AIPA|ANPA|ANVA|APKA)[A-Z0-9]{16}")
        }
        // PEM (RFC 7468), to the end of the text where the end is missing.
        PatternClass::PrivateKey => Some(
            r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\z)",
        ),
        // RFC 6750.
        PatternClass::BearerToken => Some(r"(?i)\bbearer[ \t:=]+[A-Za-z0-9._~+/\-]{8,}=*"),
    }
}

static ALL: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let forms = PatternClass::ALL.into_iter().filter_map(secret);
    // They are constants, and a test compiles them all.
    forms
        .chain([BASIC])
        .filter_map(|form| Regex::new(form).ok())
        .collect()
});

/// Whether a secret of any form is in the text. Rather too often than not often enough.
pub(crate) fn holds_secret(text: &str) -> bool {
    ALL.iter().any(|form| form.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::{ALL, BASIC, holds_secret, secret};
    use crate::obligations::PatternClass;

    #[test]
    fn every_form_is_a_regular_expression() {
        let forms: Vec<&str> = PatternClass::ALL
            .into_iter()
            .filter_map(secret)
            .chain([BASIC])
            .collect();
        assert_eq!(ALL.len(), forms.len());
    }

    #[test]
    fn secrets_are_known_by_their_looks() {
        for text in [
            "eyJhbGciOiJub25l.eyJzdWIiOiJ4In0.",
            "key AKIAIOSFODNN7EXAMPLE here",
            "AROAIOSFODNN7EXAMPLE",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
            "-----BEGIN EC PRIVATE KEY-----",
            "Authorization: Bearer abcdefgh",
            "authorization=bearer=abcdefgh",
            "Basic dXNlcjpwYXNzd29yZA==",
        ] {
            assert!(holds_secret(text), "{text}");
        }
        for text in [
            "",
            "a basic idea",
            "bearer of news",
            "AKIA",
            "eyJ.x.y",
            "BEGIN PRIVATE KEY",
        ] {
            assert!(!holds_secret(text), "{text}");
        }
    }
}
