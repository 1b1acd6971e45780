//! `log.level`: the lines that are written, and those that always are.
//!
//! The filter's own parser takes any word that is no level for the name of a module, and turns everything else off:
//! `warning` silences the whole log. So the text is read here, strictly.

use std::fmt::Write as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Modules whose lines are written whatever `log.level` is: start, listeners, reloads and end of the process, kills,
/// sessions that end with a reload, the audit log's own state, panics and lines that were dropped.
const ALWAYS: [(&str, LevelFilter); 6] = [
    ("keepgate_admin::kills", LevelFilter::INFO),
    ("keepgate_audit", LevelFilter::WARN),
    ("keepgate_cli::logging", LevelFilter::WARN),
    ("keepgate_cli::serve", LevelFilter::INFO),
    ("keepgate_gateway::live", LevelFilter::WARN),
    ("keepgate_store::kill", LevelFilter::INFO),
];

/// The words of levels.
const WORDS: [(&str, LevelFilter); 7] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("warning", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Part of the text that is no directive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) String);

/// A module, by the beginning of its path, and its level. Without a module it is the level of all others.
struct Directive<'a> {
    module: &'a str,
    level: LevelFilter,
}

/// Checks a text.
///
/// # Errors
/// [`Unknown`], the first part that is neither a level nor `module=level`.
pub(crate) fn check(text: &str) -> Result<(), Unknown> {
    directives(text).map(drop)
}

/// The filter of a text that was checked.
pub(super) fn filter(text: &str) -> EnvFilter {
    let directives = directives(text).unwrap_or_default();
    EnvFilter::builder().parse_lossy(words(directives))
}

fn directives(text: &str) -> Result<Vec<Directive<'_>>, Unknown> {
    text.split(',').map(|part| directive(part.trim())).collect()
}

fn directive(part: &str) -> Result<Directive<'_>, Unknown> {
    let (module, level) = part.split_once('=').map_or(("", part), |(module, level)| {
        // An empty module is none.
        (if module.is_empty() { "=" } else { module }, level)
    });
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | ':');
    let mut known = WORDS.iter();
    let known = known.find(|(word, _)| level.eq_ignore_ascii_case(word));
    match known.filter(|_| module.chars().all(plain)) {
        Some((_, level)) => Ok(Directive {
            module,
            level: *level,
        }),
        None => Err(Unknown(part.to_owned())),
    }
}

/// The text for the filter, in which nothing silences what is always written.
fn words(mut directives: Vec<Directive<'_>>) -> String {
    for (module, least) in ALWAYS {
        let covering = directives
            .iter()
            .filter(|directive| module.starts_with(directive.module));
        let level = covering.max_by_key(|directive| directive.module.len());
        let level = level.map_or(LevelFilter::ERROR, |directive| directive.level);
        for directive in &mut directives {
            if directive.module.starts_with(module) {
                directive.level = directive.level.max(least);
            }
        }
        if level < least {
            directives.retain(|directive| directive.module != module);
            directives.push(Directive {
                module,
                level: least,
            });
        }
    }
    let mut words = String::new();
    for Directive { module, level } in &directives {
        let equals = if module.is_empty() { "" } else { "=" };
        let comma = if words.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _written = write!(words, "{comma}{module}{equals}{level}").is_ok();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{Unknown, check, directives, words};

    #[test]
    fn only_levels_and_modules_with_levels_are_accepted() {
        for text in [
            "info",
            "WARN",
            "warning",
            "off",
            "info,keepgate=debug",
            "info, hyper=off,keepgate_cli::serve=trace",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, unknown) in [
            ("", ""),
            ("warnings", "warnings"),
            ("inof,keepgate=debug", "inof"),
            ("info,keepgate", "keepgate"),
            ("info,keepgate=loud", "keepgate=loud"),
            ("info,=debug", "=debug"),
            ("info,", ""),
            ("3", "3"),
            ("info,[span]=debug", "[span]=debug"),
        ] {
            assert_eq!(check(text), Err(Unknown(unknown.to_owned())), "{text}");
        }
    }

    #[test]
    fn no_level_silences_what_is_always_written() {
        let whole = |text: &str| words(directives(text).expect("a level"));
        let always = "keepgate_admin::kills=info,keepgate_audit=warn,keepgate_cli::logging=warn,keepgate_cli::serve=info,keepgate_gateway::live=warn,keepgate_store::kill=info";
        assert_eq!(whole("info"), "info");
        assert_eq!(whole("debug,hyper=off"), "debug,hyper=off");
        assert_eq!(
            whole("warning"),
            "warn,keepgate_admin::kills=info,keepgate_cli::serve=info,keepgate_store::kill=info"
        );
        assert_eq!(whole("off"), format!("off,{always}"));
        assert_eq!(
            whole("info,keepgate=error"),
            format!("info,keepgate=error,{always}")
        );
        assert_eq!(
            whole("info,keepgate_cli::serve::reload=off,keepgate_cli::serve=error"),
            "info,keepgate_cli::serve::reload=info,keepgate_cli::serve=info"
        );
    }
}
