//! What a text in SQL must be like before it is parsed: of a bounded size, and such that the server cannot read other
//! statements out of it than the parser does.
//!
//! Dialects disagree on where a comment or a quoted text ends. For a named dialect its own rules hold, and what its
//! settings can change is refused. For `generic` everything is refused that any two dialects read differently.

use sqlparser::dialect::{self, dialect_from_str};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

/// Longest text, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Most tokens, white space aside.
const MAX_TOKENS: usize = 8_000;
/// Most statements, empty ones among them.
const MAX_STATEMENTS: usize = 200;
/// Deepest nesting of brackets.
const MAX_BRACKETS: usize = 24;

/// The dialects `sql.parse` knows, by the names rules and definitions use for them. `generic` is none of them: what it
/// takes means the same in all.
pub const DIALECTS: [&str; 14] = [
    "generic",
    "ansi",
    "bigquery",
    "clickhouse",
    "databricks",
    "duckdb",
    "hive",
    "mssql",
    "mysql",
    "oracle",
    "postgres",
    "redshift",
    "snowflake",
    "sqlite",
];

/// A dialect that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect(&'static str);

impl Dialect {
    pub(super) fn named(name: &str) -> Option<Self> {
        let name = if name == "postgresql" {
            "postgres"
        } else {
            name
        };
        DIALECTS.into_iter().find(|known| *known == name).map(Self)
    }

    pub(super) fn reader(self) -> Box<dyn dialect::Dialect> {
        dialect_from_str(self.0).unwrap_or_else(|| Box::new(dialect::GenericDialect))
    }

    fn is_generic(self) -> bool {
        self.0 == "generic"
    }
}

/// What no dialect's text may have, and why.
const NEVER: [(&str, &str); 6] = [
    ("/*!", "a comment that a server executes"),
    ("/*m!", "a comment that a server executes"),
    (
        "\\'",
        "whether `\\` escapes a quote is a setting of the server",
    ),
    (
        "\\\"",
        "whether `\\` escapes a quote is a setting of the server",
    ),
    (
        "\\`",
        "whether `\\` escapes a quote is a setting of the server",
    ),
    ("u&\"", "an identifier with escapes"),
];

/// What a text may not have when its dialect is not known.
const AMBIGUOUS: [&str; 9] = ["\\", "#", "[", "`", "/*", "'''", "\"\"\"", "q'", "{"];

/// Refuses a text that could be read in two ways.
pub(super) fn text(text: &str, dialect: Dialect) -> Result<(), String> {
    if text.len() > MAX_TEXT {
        return Err(format!("longer than {MAX_TEXT} bytes"));
    }
    let odd = |letter: char| {
        letter.is_control() && !matches!(letter, '\t' | '\n' | '\r')
            || letter.is_whitespace() && !letter.is_ascii()
            // Marks that show text in another order than it has, or not at all.
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if text.contains(odd) {
        return Err("a control character or unusual white space".to_owned());
    }
    if text.replace("\r\n", "\n").contains('\r') {
        return Err("a line that ends in a lone carriage return".to_owned());
    }
    let folded = text.to_ascii_lowercase();
    if let Some((_, why)) = NEVER.iter().find(|(part, _)| folded.contains(part)) {
        return Err((*why).to_owned());
    }
    if dialect.is_generic() {
        ambiguous(&folded)?;
    }
    Ok(())
}

fn ambiguous(text: &str) -> Result<(), String> {
    let refused = |part: &str| {
        Err(format!(
            "dialects read `{part}` in different ways: name the dialect"
        ))
    };
    if let Some(part) = AMBIGUOUS.into_iter().find(|part| text.contains(part)) {
        return refused(part);
    }
    let follows = |mark: &'static str, fine: fn(char) -> bool| {
        text.match_indices(mark).any(|(at, _)| {
            text[at + mark.len()..]
                .chars()
                .next()
                .is_some_and(|next| !fine(next))
        })
    };
    if follows("--", |next| next.is_ascii_whitespace()) {
        return refused("--");
    }
    if follows("$", |next| next.is_ascii_digit()) {
        return refused("$");
    }
    Ok(())
}

/// The tokens of a text, white space and comments among them.
pub(super) fn tokens(text: &str, dialect: Dialect) -> Result<Vec<TokenWithSpan>, String> {
    let reader = dialect.reader();
    let tokens = Tokenizer::new(&*reader, text)
        .tokenize_with_location()
        .map_err(|error| error.to_string())?;
    let counted = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
    if tokens.iter().filter(counted).count() > MAX_TOKENS {
        return Err(format!("more than {MAX_TOKENS} tokens"));
    }
    let ends = |token: &&TokenWithSpan| token.token == Token::SemiColon;
    if tokens.iter().filter(ends).count() >= MAX_STATEMENTS {
        return Err(format!("more than {MAX_STATEMENTS} statements"));
    }
    let mut depth = 0_usize;
    for token in &tokens {
        if matches!(token.token, Token::LParen | Token::LBracket | Token::LBrace) {
            depth += 1;
        } else if matches!(token.token, Token::RParen | Token::RBracket | Token::RBrace) {
            depth = depth.saturating_sub(1);
        }
        if depth > MAX_BRACKETS {
            return Err(format!("brackets nested deeper than {MAX_BRACKETS}"));
        }
    }
    Ok(tokens)
}

pub(super) fn has_comments(tokens: &[TokenWithSpan]) -> bool {
    tokens.iter().any(|token| {
        matches!(
            token.token,
            Token::Whitespace(
                Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)
            )
        )
    })
}
