//! Names of servers: clients allow any text, Keepgate those that fit URLs and policies.

use std::collections::BTreeSet;

use keepgate_call::ServerName;

/// Gives each name of a client's file one that Keepgate takes, and none twice.
#[derive(Debug, Default)]
pub(crate) struct Names {
    used: BTreeSet<String>,
}

impl Names {
    /// The name for `written`; the same calls in the same order give the same names.
    pub(crate) fn take(&mut self, written: &str) -> String {
        let base = plain(written);
        let mut name = base.clone();
        let mut number = 2_u32;
        while !self.used.insert(name.clone()) {
            let tail = format!("-{number}");
            let room = ServerName::LONGEST.saturating_sub(tail.len());
            let head: String = base.chars().take(room).collect();
            name = format!("{head}{tail}");
            number = number.saturating_add(1);
        }
        name
    }
}

/// Lower case, with a dash for what is neither letter, digit, dash nor underscore; never two of those in a row.
fn plain(written: &str) -> String {
    let mut name = String::new();
    for letter in written.chars() {
        let letter = letter.to_ascii_lowercase();
        let is_plain = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let separates = name.ends_with(['-', '_']) || name.is_empty();
        if is_plain {
            name.push(letter);
        } else if !separates {
            name.push(if letter == '_' { '_' } else { '-' });
        }
        if name.len() == ServerName::LONGEST {
            break;
        }
    }
    let name = name.trim_end_matches(['-', '_']);
    match name {
        "" => "server".to_owned(),
        // Reserved for paths of Keepgate.
        "t" => "t-server".to_owned(),
        name => name.to_owned(),
    }
}
