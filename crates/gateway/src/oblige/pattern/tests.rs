//! What each class finds, and what it leaves alone.

use keepgate_policy::PatternClass::{
    self, AwsAccessKey, BearerToken, Card, Email, Iban, Ipv4, Jwt, Phone, PrivateKey, Ssn,
};

use super::masked;

fn check(class: PatternClass, table: &[(&str, &str)]) {
    for (text, wanted) in table {
        let said = masked(&[class], text).map_or_else(|| (*text).to_owned(), |(text, _)| text);
        assert_eq!(said, *wanted, "{class:?}: {text}");
        assert_eq!(masked(&[class], &said), None, "again, {class:?}: {said}");
    }
}

#[test]
fn addresses() {
    check(
        Email,
        &[
            ("to bob@example.com.", "to [redacted]."),
            ("<Ann.O'Neil+x@mail.example.co.uk>", "<[redacted]>"),
            ("jürgen@bücher.example", "[redacted]"),
            ("a@b.c@d.e", "[redacted]"),
            (
                "user@localhost, @home, a @ b.c",
                "user@localhost, @home, a @ b.c",
            ),
        ],
    );
    check(
        Ipv4,
        &[
            ("from 10.0.0.1.", "from [redacted]."),
            (
                "10.0.0.1:443 and 255.255.255.255",
                "[redacted]:443 and [redacted]",
            ),
            (
                "1.2.3.4.5 and 256.1.1.1 and v1.2.3",
                "1.2.3.4.5 and 256.1.1.1 and v1.2.3",
            ),
        ],
    );
}

#[test]
fn numbers_with_a_check() {
    check(
        Card,
        &[
            ("4111111111111111", "[redacted]"),
            ("card 4111 1111 1111 1111 12/27", "card [redacted] 12/27"),
            (
                "5555-5555-5555-4444, 378282246310005",
                "[redacted], [redacted]",
            ),
            ("4111111111111112", "4111111111111112"),
            (
                "1700000000000 and 41111111111111110000",
                "1700000000000 and 41111111111111110000",
            ),
        ],
    );
    check(
        Iban,
        &[
            ("GB82 WEST 1234 5698 7654 32 please", "[redacted] please"),
            ("de89370400440532013000", "[redacted]"),
            ("GB82 WEST 1234 5698 7654 33", "GB82 WEST 1234 5698 7654 33"),
        ],
    );
}

#[test]
fn numbers_without_a_check() {
    check(
        Ssn,
        &[
            (
                "SSN 123-45-6789, 123 45 6789.",
                "SSN [redacted], [redacted].",
            ),
            (
                "123456789 and 123-456-789 and 1123-45-6789",
                "123456789 and 123-456-789 and 1123-45-6789",
            ),
        ],
    );
    check(
        Phone,
        &[
            ("+44 20 7946 0958", "[redacted]"),
            ("(555) 123-4567 or 555-123-4567", "[redacted] or [redacted]"),
            ("0049 30 1234567", "[redacted]"),
            ("12345678 and 2026-11-20", "12345678 and 2026-11-20"),
        ],
    );
}

#[test]
fn secrets() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    check(
        Jwt,
        &[
            (&format!("token={jwt};"), "token=[redacted];"),
            ("eyJ.x", "eyJ.x"),
        ],
    );
    check(
        AwsAccessKey,
        &[
            ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
            ("XAKIAIOSFODNN7EXAMPLE", "XAKIAIOSFODNN7EXAMPLE"),
        ],
    );
    check(
        PrivateKey,
        &[
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb",
                "a\n[redacted]\nb",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMII", "[redacted]"),
            ("-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----"),
        ],
    );
    check(
        BearerToken,
        &[
            (
                "Authorization: BEARER abcdef012345==",
                "Authorization: [redacted]",
            ),
            ("the bearer of news", "the bearer of news"),
        ],
    );
}
