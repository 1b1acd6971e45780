//! The words, texts and marks of a query.

/// Most of them in one query.
const MAX_TOKENS: usize = 8_000;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word, or several with points between them, in lower case.
    Name(String),
    /// What stands between quotes, without its escapes.
    Text(String),
    /// A number, a date or a time.
    Number(String),
    /// One of `(),=<>!:+-`.
    Mark(char),
}

/// Takes a text apart. A letter the language does not have is an error: there are neither comments nor several
/// statements in it.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut letters = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(&letter) = letters.peek() {
        if tokens.len() >= MAX_TOKENS {
            return Err(format!("more than {MAX_TOKENS} tokens"));
        }
        if matches!(letter, ' ' | '\t' | '\n' | '\r') {
            letters.next();
        } else if letter.is_ascii_alphabetic() || letter == '_' {
            let name = run(&mut letters, |letter| {
                letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.')
            });
            if name.split('.').any(str::is_empty) {
                return Err(format!("no name: `{name}`"));
            }
            tokens.push(Token::Name(name.to_ascii_lowercase()));
        } else if letter.is_ascii_digit() {
            let number = run(&mut letters, |letter| {
                letter.is_ascii_alphanumeric() || matches!(letter, '.' | ':' | '-' | '+')
            });
            if number.contains("--") {
                return Err("a comment".to_owned());
            }
            tokens.push(Token::Number(number));
        } else if letter == '\'' {
            letters.next();
            tokens.push(Token::Text(quoted(&mut letters)?));
        } else if matches!(
            letter,
            '(' | ')' | ',' | '=' | '<' | '>' | '!' | ':' | '+' | '-'
        ) {
            letters.next();
            if letter == '-' && letters.peek() == Some(&'-') {
                return Err("a comment".to_owned());
            }
            tokens.push(Token::Mark(letter));
        } else {
            return Err(format!("unexpected `{}`", letter.escape_default()));
        }
    }
    Ok(tokens)
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn run(letters: &mut Letters<'_>, belongs: fn(char) -> bool) -> String {
    let mut run = String::new();
    while let Some(letter) = letters.next_if(|letter| belongs(*letter)) {
        run.push(letter);
    }
    run
}

/// The rest of a text behind its first quote.
fn quoted(letters: &mut Letters<'_>) -> Result<String, String> {
    let mut text = String::new();
    loop {
        match letters.next().ok_or("a text without an end")? {
            '\'' => return Ok(text),
            '\\' => text.push(letters.next().ok_or("a text without an end")?),
            letter => text.push(letter),
        }
    }
}
