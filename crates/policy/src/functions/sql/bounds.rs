//! What a text in SQL must be like before it is parsed: of a bounded size, and such that the server cannot read other
//! statements out of it than the parser does.
//!
//! Dialects disagree on where a comment or a quoted text ends. For a named dialect its own rules hold, and what its
//! settings can change is refused. For `generic` everything is refused that any two dialects read differently.

use sqlparser::dialect::{self, dialect_from_str};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

/// Longest text, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Most tokens, white space aside.
const MAX_TOKENS: usize = 8_000;
/// Most statements, empty ones among them.
const MAX_STATEMENTS: usize = 200;
/// Deepest nesting of brackets.
const MAX_BRACKETS: usize = 24;
/// Most calls of `POSITION` in each other: the parser reads what is in them three times.
const MAX_POSITIONS: usize = 2;
/// Most calls in each other of what the parser knows a form of its own for: where that fails, it reads them again.
const MAX_FORMS: usize = 6;
/// Those.
const FORMS: [Keyword; 21] = [
    Keyword::ARRAY,
    Keyword::BOX,
    Keyword::CAST,
    Keyword::CEIL,
    Keyword::CIRCLE,
    Keyword::CONVERT,
    Keyword::EXTRACT,
    Keyword::FLOOR,
    Keyword::LAMBDA,
    Keyword::LINE,
    Keyword::LSEG,
    Keyword::MATCH,
    Keyword::OVERLAY,
    Keyword::PATH,
    Keyword::POINT,
    Keyword::POLYGON,
    Keyword::SAFE_CAST,
    Keyword::SUBSTR,
    Keyword::SUBSTRING,
    Keyword::TRY_CAST,
    Keyword::TRY_CONVERT,
];

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

    /// Whether a server of this dialect may be SQL Server, where statements need nothing between them.
    pub(super) fn is_mssql(self) -> bool {
        self.0 == "mssql"
    }

    pub(super) fn is_generic(self) -> bool {
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
    if depth(&tokens) > MAX_BRACKETS {
        return Err(format!("brackets nested deeper than {MAX_BRACKETS}"));
    }
    forms(&tokens)?;
    // Of comments in each other some servers see one, and some two.
    if tokens.iter().any(|token| within(&token.token)) {
        return Err("a comment that begins within another".to_owned());
    }
    Ok(tokens)
}

/// How deep brackets are nested.
pub(super) fn depth(tokens: &[TokenWithSpan]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for token in tokens {
        if matches!(token.token, Token::LParen | Token::LBracket | Token::LBrace) {
            depth += 1;
        } else if matches!(token.token, Token::RParen | Token::RBracket | Token::RBrace) {
            depth = depth.saturating_sub(1);
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Refuses calls in each other that a parser would go through again and again.
fn forms(tokens: &[TokenWithSpan]) -> Result<(), String> {
    let mut open: Vec<Keyword> = Vec::new();
    let mut before = Keyword::NoKeyword;
    for token in tokens {
        if matches!(token.token, Token::Whitespace(_)) {
            continue;
        }
        if token.token == Token::LParen {
            open.push(before);
        } else if token.token == Token::RParen {
            open.pop();
        }
        before = if let Token::Word(word) = &token.token {
            word.keyword
        } else {
            Keyword::NoKeyword
        };
        let positions = open.iter().filter(|word| **word == Keyword::POSITION);
        let forms = open.iter().filter(|word| FORMS.contains(word));
        if positions.count() > MAX_POSITIONS || forms.count() > MAX_FORMS {
            return Err("calls that are nested too deep".to_owned());
        }
    }
    Ok(())
}

/// Whether a comment has the beginning of another in it, or in what ends it: `/*/*/`.
fn within(token: &Token) -> bool {
    if let Token::Whitespace(Whitespace::MultiLineComment(text)) = token {
        text.contains("/*") || text.ends_with('/')
    } else {
        false
    }
}

/// Whether columns may be meant otherwise than by name: by their number (`$3`), or by a pattern between quotes.
pub(super) fn has_unnamed(tokens: &[TokenWithSpan], dialect: Dialect) -> bool {
    let numbered = |text: &str| {
        text.strip_prefix('$')
            .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    let numbers = |token: &TokenWithSpan| {
        if let Token::Placeholder(text) = &token.token {
            numbered(text)
        } else if let Token::Word(word) = &token.token {
            word.quote_style.is_none() && numbered(&word.value)
        } else {
            false
        }
    };
    let patterns = |token: &TokenWithSpan| {
        if let Token::Word(word) = &token.token {
            word.quote_style.is_some()
                && word
                    .value
                    .contains(['*', '+', '?', '.', '|', '(', '[', '{', '^', '\\'])
        } else {
            false
        }
    };
    let numbered = dialect.is_generic() || dialect.0 == "snowflake";
    let patterned = matches!(dialect.0, "hive" | "databricks");
    numbered && tokens.iter().any(numbers) || patterned && tokens.iter().any(patterns)
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
