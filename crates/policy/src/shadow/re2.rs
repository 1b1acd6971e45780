//! Patterns of OPA (RE2, as Go's `regexp` reads them) in the syntax of the `regex` crate.
//!
//! The two read many patterns differently without an error: `\w`, `\d`, `\s` and `\b` are ASCII in RE2 and Unicode here,
//! `[a&&b]` is three letters there and an intersection here. An allow-list written for OPA would take more here, so each
//! construct is rewritten, and what only one of the two knows is an error. One pass, without backtracking.

use std::iter::Peekable;
use std::str::Chars;

/// Largest count of a repetition, as in Go.
const MAX_COUNT: u32 = 1000;
/// Classes of POSIX that are known by name.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

type Reading<T> = Result<T, &'static str>;

/// Rewrites a pattern.
pub(super) fn translate(pattern: &str) -> Reading<String> {
    let mut reader = Reader {
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len() * 2),
        repeated: false,
    };
    while let Some(letter) = reader.rest.next() {
        reader.item(letter)?;
    }
    Ok(reader.out)
}

struct Reader<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    /// Whether a repetition came last: another one may not follow.
    repeated: bool,
}

impl Reader<'_> {
    fn item(&mut self, letter: char) -> Reading<()> {
        let repeated = std::mem::take(&mut self.repeated);
        match letter {
            '*' | '+' | '?' => {
                self.out.push(letter);
                self.repetition(repeated)
            }
            '{' => match self.count()? {
                Some(count) => {
                    self.out.push_str(&count);
                    self.repetition(repeated)
                }
                None => {
                    self.literal('{');
                    Ok(())
                }
            },
            '[' => self.class(),
            '(' => self.group(),
            '\\' => self.escape(),
            '^' | '$' | '.' | '|' | ')' => {
                self.out.push(letter);
                Ok(())
            }
            literal => {
                self.literal(literal);
                Ok(())
            }
        }
    }

    fn repetition(&mut self, repeated: bool) -> Reading<()> {
        if repeated {
            return Err("a repetition of a repetition");
        }
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        self.repeated = true;
        Ok(())
    }

    fn add(&mut self, texts: &[&str]) {
        self.out.extend(texts.iter().copied());
    }

    /// A letter that stands for itself, in a class or not.
    fn literal(&mut self, letter: char) {
        if letter.is_ascii() && !letter.is_ascii_alphanumeric() {
            self.add(&["\\x{", &format!("{:x}", u32::from(letter)), "}"]);
        } else {
            self.out.push(letter);
        }
    }

    /// `{2}`, `{2,}`, `{2,3}`; anything else in braces is literal.
    fn count(&mut self) -> Reading<Option<String>> {
        let ahead = self.rest.clone();
        // Longer ones are out of range anyway.
        let text: String = ahead.take(32).take_while(|letter| *letter != '}').collect();
        let (least, most) = text.split_once(',').unwrap_or((&text, &text));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let closed = self.rest.clone().nth(text.chars().count()) == Some('}');
        if !closed || least.is_empty() || !digits(least) || !digits(most) {
            return Ok(None);
        }
        for number in [least, most] {
            let fits =
                number.is_empty() || number.parse().is_ok_and(|count: u32| count <= MAX_COUNT);
            if !fits {
                return Err("a count of a repetition is out of range");
            }
        }
        self.rest.nth(text.chars().count());
        Ok(Some(format!("{{{text}}}")))
    }

    /// The part behind `(`.
    fn group(&mut self) -> Reading<()> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        let mut flags = String::new();
        while let Some(letter) = self.rest.next() {
            match letter {
                ':' | ')' => {
                    self.out.push_str(&flags);
                    self.out.push(letter);
                    return Ok(());
                }
                'P' if flags.is_empty() && self.rest.peek() == Some(&'<') => flags.push('P'),
                '<' if matches!(flags.as_str(), "" | "P") => return self.group_name(),
                'i' | 'm' | 's' | 'U' | '-' if !flags.starts_with('P') => flags.push(letter),
                _ => return Err("a group of a kind that RE2 lacks"),
            }
        }
        Err("a group without an end")
    }

    fn group_name(&mut self) -> Reading<()> {
        self.out.push_str("P<");
        for letter in self.rest.by_ref() {
            self.out.push(letter);
            if letter == '>' {
                return Ok(());
            }
            if !letter.is_ascii_alphanumeric() && letter != '_' {
                return Err("the name of a group");
            }
        }
        Err("a group without an end")
    }

    /// The part behind `\` outside a class.
    fn escape(&mut self) -> Reading<()> {
        let letter = self.rest.next().ok_or("a backslash at the end")?;
        match letter {
            'b' => self.out.push_str(r"(?-u:\b)"),
            'B' => self.out.push_str(r"(?-u:\B)"),
            'A' => self.out.push_str(r"\A"),
            'z' => self.out.push_str(r"\z"),
            'Q' => self.quoted(),
            'd' | 's' | 'w' => {
                let set = perl(letter);
                self.add(&["[", set, "]"]);
            }
            'D' | 'S' | 'W' => {
                let set = perl(letter);
                self.add(&["[^", set, "]"]);
            }
            'p' | 'P' => self.property(letter)?,
            other => {
                let letter = self.escaped(other)?;
                self.literal(letter);
            }
        }
        Ok(())
    }

    /// `\Q..\E`
    fn quoted(&mut self) {
        while let Some(letter) = self.rest.next() {
            if letter == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(letter);
        }
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`
    fn property(&mut self, kind: char) -> Reading<()> {
        let first = self.rest.next().ok_or("a property without a name")?;
        let mut negated = kind == 'P';
        let mut name = String::new();
        if first == '{' {
            negated ^= self.rest.next_if_eq(&'^').is_some();
            loop {
                match self.rest.next() {
                    Some('}') => break,
                    Some(letter) if letter.is_ascii_alphanumeric() || letter == '_' => {
                        name.push(letter);
                    }
                    Some(_) | None => return Err("the name of a property"),
                }
            }
        } else {
            name.push(first);
        }
        self.add(&[if negated { "\\P{" } else { "\\p{" }, &name, "}"]);
        Ok(())
    }

    /// The letter that an escape stands for.
    fn escaped(&mut self, letter: char) -> Reading<char> {
        let known = match letter {
            'a' => '\u{7}',
            'f' => '\u{c}',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\u{b}',
            'x' => return self.hexadecimal(),
            '0'..='7' => return self.octal(letter),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => other,
            _ => return Err("an escape that RE2 lacks"),
        };
        Ok(known)
    }

    fn hexadecimal(&mut self) -> Reading<char> {
        let mut number: u32 = 0;
        let mut digits = 0_u32;
        let braced = self.rest.next_if_eq(&'{').is_some();
        while braced || digits < 2 {
            match self.rest.next() {
                Some('}') if braced && digits > 0 => break,
                Some(digit) if digits < 8 => {
                    let digit = digit.to_digit(16).ok_or("a hexadecimal escape")?;
                    number = number << 4 | digit;
                    digits += 1;
                }
                Some(_) | None => return Err("a hexadecimal escape"),
            }
        }
        char::from_u32(number).ok_or("an escape out of range")
    }

    /// Up to three digits; a single one other than zero would be a reference to a group.
    fn octal(&mut self, first: char) -> Reading<char> {
        let octal = |letter: &char| ('0'..='7').contains(letter);
        if first != '0' && !self.rest.peek().is_some_and(octal) {
            return Err("a reference to a group");
        }
        let mut number = first.to_digit(8).unwrap_or_default();
        for _ in 0..2 {
            if let Some(digit) = self.rest.next_if(octal) {
                number = number * 8 + digit.to_digit(8).unwrap_or_default();
            }
        }
        char::from_u32(number).ok_or("an escape out of range")
    }

    /// The part behind `[`.
    fn class(&mut self) -> Reading<()> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let letter = self.rest.next().ok_or("a class without an end")?;
            if letter == ']' && !first {
                self.out.push(']');
                return Ok(());
            }
            first = false;
            match (letter, self.rest.peek().copied()) {
                ('[', Some(':')) if self.posix()? => {}
                ('\\', Some('d' | 's' | 'w')) => {
                    let set = self.rest.next().map_or("", perl);
                    self.out.push_str(set);
                }
                ('\\', Some('D' | 'S' | 'W')) => {
                    let set = self.rest.next().map_or("", perl);
                    self.add(&["[^", set, "]"]);
                }
                ('\\', Some('p' | 'P')) => {
                    let kind = self.rest.next().unwrap_or('p');
                    self.property(kind)?;
                }
                (letter, _) => self.range(letter)?,
            }
        }
    }

    /// A letter of a class, or a range that begins with it.
    fn range(&mut self, letter: char) -> Reading<()> {
        let low = self.class_letter(letter)?;
        self.literal(low);
        let mut ahead = self.rest.clone();
        let more = ahead.next() == Some('-') && !matches!(ahead.next(), Some(']') | None);
        if more {
            self.rest.next();
            let letter = self.rest.next().ok_or("a class without an end")?;
            let high = self.class_letter(letter)?;
            if high < low {
                return Err("a range whose end comes before its start");
            }
            self.out.push('-');
            self.literal(high);
        }
        Ok(())
    }

    fn class_letter(&mut self, letter: char) -> Reading<char> {
        if letter != '\\' {
            return Ok(letter);
        }
        let escaped = self.rest.next().ok_or("a backslash at the end")?;
        self.escaped(escaped)
    }

    /// `[:alpha:]` or `[:^alpha:]`; `false` when it is none but letters.
    fn posix(&mut self) -> Reading<bool> {
        let ahead: String = self.rest.clone().skip(1).take(16).collect();
        let Some((text, _)) = ahead.split_once(":]") else {
            return Ok(false);
        };
        let name = text.strip_prefix('^').unwrap_or(text);
        if !POSIX.contains(&name) {
            return Err("the name of a class");
        }
        self.add(&["[:", text, ":]"]);
        self.rest.nth(text.len() + 2);
        Ok(true)
    }
}

/// The letters of a class of Perl; its upper-case form is what is not among them.
const fn perl(letter: char) -> &'static str {
    match letter {
        'd' | 'D' => "0-9",
        's' | 'S' => r"\t\n\x0c\r\x20",
        _ => "0-9A-Za-z_",
    }
}
