//! Secrets of clients' files: which values are one, and the file each goes to.

use zeroize::Zeroizing;

/// A secret of a server, and how the server gets it.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) form: Form,
    pub(crate) origin: Origin,
}

/// The form in which a server gets a secret: the words of `credential.as`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Bearer,
    Header(String),
    Basic(String),
    Query(String),
    Environment(String),
}

/// The origin of a secret.
#[derive(Clone)]
pub(crate) enum Origin {
    /// The file had it in clear.
    Text(Zeroizing<String>),
    /// A variable of the environment.
    Variable(String),
    /// The client asked a person for it.
    Input(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text is the secret.
        let form = formatter.debug_struct("Secret");
        { form }.field("form", &self.form).finish_non_exhaustive()
    }
}

impl Form {
    /// The name of the secret in the file it came from.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Bearer => "token",
            Self::Header(name) | Self::Query(name) | Self::Environment(name) => name,
            Self::Basic(_) => "password",
        }
    }
}

/// Beginnings of tokens that services give out.
const BEGINNINGS: [&str; 24] = [
    "sk-",
    "sk_",
    "pk_live_",
    "rk_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "hf_",
    "npm_",
    "pypi-",
    "dop_v1_",
    "figd_",
    "ntn_",
    "-----BEGIN",
];
/// Shortest value with such a beginning that is a token and not a word.
const SHORTEST_TOKEN: usize = 16;

/// Whether a value of this name is a secret: by its name, as everywhere in Keepgate, or by its look.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    !value.is_empty() && (is_secret_name(name) || looks_secret(value))
}

/// Whether a variable, header or parameter of this name holds a secret: Keepgate's own list, and what only variables are
/// called.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    crate::config::is_secret_parameter(name)
        || lower
            .split(['_', '-', '.'])
            .next_back()
            .is_some_and(|last| ["key", "pat", "pass", "pwd", "dsn", "jwt"].contains(&last))
}

/// Whether a value looks like a secret whatever it is called.
pub(crate) fn looks_secret(value: &str) -> bool {
    let token = value.trim();
    let is_long = token.len() >= SHORTEST_TOKEN && !token.contains(char::is_whitespace);
    let begins = BEGINNINGS.iter().any(|begin| token.starts_with(begin));
    let lower = token.get(..7).map(str::to_ascii_lowercase);
    let scheme = lower.is_some_and(|lower| lower == "bearer " || lower.starts_with("basic "));
    (is_long && begins)
        || token.starts_with("-----BEGIN")
        || scheme
        || is_jwt(token)
        || has_password(token)
}

/// Three parts in base64url of which the first is an object.
fn is_jwt(value: &str) -> bool {
    value.starts_with("eyJ") && value.len() >= 32 && value.split('.').count() == 3
}

/// Whether it is a URL, or holds one, with a password: `postgres://user:password@host/db`.
fn has_password(value: &str) -> bool {
    let Some((_, after)) = value.split_once("://") else {
        return false;
    };
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'))
}

/// The argument that holds a secret, counted from 1: by its look, or by the option before it.
pub(crate) fn in_arguments(arguments: &[String]) -> Option<usize> {
    let mut option = "";
    for (index, argument) in arguments.iter().enumerate() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with('-') || is_plain(name) => (name, value),
            Some(_) | None => (option, argument.as_str()),
        };
        let header = value.split_once(':').filter(|(name, _)| is_plain(name));
        let in_header = header.is_some_and(|(name, value)| is_secret(name, value.trim()));
        let named = name.trim_start_matches('-');
        let is_option = argument.starts_with('-') && !argument.contains('=');
        // One with a default holds the default.
        let is_variable = value.starts_with("${") && !value.contains(":-");
        let secret = is_secret(named, value) || in_header || in_parameter(value);
        if !is_option && !is_variable && secret {
            return Some(index + 1);
        }
        option = if is_option { argument } else { "" };
    }
    None
}

/// Whether it is a URL with a secret among its parameters.
fn in_parameter(value: &str) -> bool {
    let Some((_, query)) = value.split_once('?') else {
        return false;
    };
    let query = query.split('#').next().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    value.contains("://") && pairs.any(|(name, value)| is_secret(&name, &value))
}

/// Length from which a step of a path that mixes letters and digits may be a secret.
const LONG_STEP: usize = 16;

/// The URL with `***` for each step of its path that may be a secret, as addresses of some services are.
pub(crate) fn without_steps(url: &str) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (url, String::new()),
    };
    let is_odd = |step: &str| {
        let has = |test: fn(&u8) -> bool| step.as_bytes().iter().any(test);
        let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
        looks_secret(step) || (step.len() >= LONG_STEP && mixed)
    };
    // Scheme, nothing, and the host are no steps.
    let steps = path.split('/').enumerate();
    let steps: Vec<&str> = steps
        .map(|(index, step)| {
            if index > 2 && is_odd(step) {
                "***"
            } else {
                step
            }
        })
        .collect();
    steps.join("/") + &query
}

/// Whether it is a name and not a path or a sentence.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}
