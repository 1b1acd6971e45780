//! Where a secret is: the text that stands in configuration, records and messages in its stead.

use std::{fmt, path::PathBuf, sync::Arc};

/// The longest reference, in bytes.
const LONGEST: usize = 512;
/// What a `file:` reference may begin with, beside `/`: the directory systemd puts a unit's credentials in.
const SYSTEMD: &str = "${CREDENTIALS_DIRECTORY}/";

/// The text of a reference and what it means. Not secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    text: Arc<str>,
    place: Place,
}

/// What a reference points at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `file:/path`: the content of a file.
    File(PathBuf),
    /// `file:${CREDENTIALS_DIRECTORY}/name`: a credential systemd passes to the unit.
    Systemd(String),
    /// `env:NAME`: a variable of the gateway's own environment.
    Environment(String),
    /// `vault:mount/path#field`: a field of what Vault holds or issues under a path. Which part of it is the mount is
    /// known from the provider's settings.
    Vault {
        /// Mount and path.
        path: String,
        /// The field.
        field: String,
    },
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It is empty or too long.
    #[error("a reference has 1 to {LONGEST} bytes")]
    Length,
    /// It has characters that have no business in one.
    #[error("a reference has no white space and no control characters")]
    Character,
    /// It begins with no scheme we know.
    #[error("a reference begins with `file:`, `env:` or `vault:`")]
    Scheme,
    /// The path of a file is not absolute, or steps back.
    #[error("a file is named by its absolute path, without `..`")]
    File,
    /// The name of a variable is none.
    #[error("not the name of an environment variable")]
    Environment,
    /// A Vault path is malformed.
    #[error("a Vault reference is `vault:mount/path#field`")]
    Vault,
}

impl ReferenceError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Length | Self::Character | Self::Scheme => {
                "write where the secret is, not the secret: file:/run/secrets/crm, env:CRM_TOKEN or vault:secret/crm#token"
            }
            Self::File => "write file:/run/secrets/crm or file:${CREDENTIALS_DIRECTORY}/crm",
            Self::Environment => {
                "write env:CRM_TOKEN: letters, digits and _, not beginning with a digit"
            }
            Self::Vault => {
                "write the mount, the path as `vault kv get` takes it (no `data/`), and the field: vault:secret/mcp/crm#token"
            }
        }
    }
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`ReferenceError`] says what is wrong. It does not repeat the text: that may be a secret written there by mistake.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(ReferenceError::Length);
        }
        if text
            .chars()
            .any(|letter| letter.is_whitespace() || letter.is_control())
        {
            return Err(ReferenceError::Character);
        }
        let (scheme, rest) = text.split_once(':').ok_or(ReferenceError::Scheme)?;
        let place = match scheme {
            "file" => file(rest)?,
            "env" => environment(rest)?,
            "vault" => vault(rest)?,
            _ => return Err(ReferenceError::Scheme),
        };
        Ok(Self {
            text: text.into(),
            place,
        })
    }

    /// The reference as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The reference as shared text, for records.
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// What it points at.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn file(rest: &str) -> Result<Place, ReferenceError> {
    if let Some(name) = rest.strip_prefix(SYSTEMD) {
        let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        return plain
            .then(|| Place::Systemd(name.to_owned()))
            .ok_or(ReferenceError::File);
    }
    let steps_back = rest.split('/').any(|part| part == "..");
    if !rest.starts_with('/') || rest.ends_with('/') || steps_back {
        return Err(ReferenceError::File);
    }
    Ok(Place::File(PathBuf::from(rest)))
}

fn environment(rest: &str) -> Result<Place, ReferenceError> {
    is_variable(rest)
        .then(|| Place::Environment(rest.to_owned()))
        .ok_or(ReferenceError::Environment)
}

/// Whether `name` is the name of an environment variable (POSIX: letters, digits, `_`, not a digit first).
pub fn is_variable(name: &str) -> bool {
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Vault paths are sent as they are written, so they hold only what needs no encoding.
fn vault(rest: &str) -> Result<Place, ReferenceError> {
    let (path, field) = rest.split_once('#').ok_or(ReferenceError::Vault)?;
    let parts: Vec<&str> = path.split('/').collect();
    let fine = parts.len() >= 2 && parts.iter().all(|part| is_segment(part));
    if !fine || field.is_empty() || field.contains('#') {
        return Err(ReferenceError::Vault);
    }
    Ok(Place::Vault {
        path: path.to_owned(),
        field: field.to_owned(),
    })
}

/// Whether `part` is one step of a Vault path that no server can read in two ways.
pub fn is_segment(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@+=".contains(&byte);
    !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{Place, Reference, ReferenceError};

    #[test]
    fn references_have_three_forms() {
        for good in [
            "file:/run/secrets/crm",
            "file:${CREDENTIALS_DIRECTORY}/crm",
            "env:CRM_TOKEN",
            "vault:secret/mcp/crm#token",
            "vault:database/creds/readonly#password",
        ] {
            assert_eq!(Reference::parse(good).unwrap().as_str(), good);
        }
        let Place::Vault { path, field } = Reference::parse("vault:a/b/c#d").unwrap().place else {
            panic!()
        };
        assert_eq!((path.as_str(), field.as_str()), ("a/b/c", "d"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_reference() {
        use ReferenceError as E;
        for (bad, why) in [
            ("", E::Length),
            ("sk-live-0123456789", E::Scheme),
            ("https://vault/v1/secret", E::Scheme),
            ("file:relative", E::File),
            ("file:/a/../b", E::File),
            ("file:/a/", E::File),
            ("file:${CREDENTIALS_DIRECTORY}/../x", E::File),
            ("file:/a b", E::Character),
            ("env:", E::Environment),
            ("env:1A", E::Environment),
            ("env:A-B", E::Environment),
            ("vault:secret#token", E::Vault),
            ("vault:secret/a", E::Vault),
            ("vault:secret/a#", E::Vault),
            ("vault:secret/../sys/a#b", E::Vault),
            ("vault:secret//a#b", E::Vault),
            ("vault:secret/a?version=1#b", E::Vault),
            ("vault:secret/a%2fb#c", E::Vault),
            ("vault:/secret/a#b", E::Vault),
        ] {
            assert_eq!(Reference::parse(bad).unwrap_err(), why, "{bad}");
        }
    }
}
