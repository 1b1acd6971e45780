//! `.signatures.json`: one JWT over the names and hashes of all other files.
//!
//! The set of files must match exactly. The key is chosen by the token's `kid` among those that are configured, and the
//! algorithm is the key's, never the token's choice.

use std::collections::BTreeMap;

use keepgate_jose::{Algorithm, Compact, KeyError, SigningKey, UnreadableHeader, VerifyingKey};
use ring::digest;
use serde::{Deserialize, Serialize};

use super::archive::Entry;
use super::canonical::{self, CanonicalError};

/// Name of the file with the signature.
pub(crate) const FILE: &str = ".signatures.json";
/// What a signature file says beside the tokens when another way of signing is meant.
const OWN_PLUGIN: &str = "_default";

/// One key that is believed.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// What the token's `kid` must say; a token without one is taken where this is `None`, and only the one key is there.
    pub id: Option<String>,
    /// The key.
    pub key: VerifyingKey,
    /// What the payload's `scope` must be; `None` for a token without one.
    pub scope: Option<String>,
}

/// Who may sign a bundle. Never without keys.
#[derive(Debug, Clone)]
pub struct Verification(Vec<Trusted>);

impl Verification {
    /// Believes these keys; `None` for none, for several of which one has no id, and for one id twice.
    #[must_use]
    pub fn new(keys: Vec<Trusted>) -> Option<Self> {
        let mut ids: Vec<_> = keys.iter().map(|trusted| trusted.id.as_deref()).collect();
        ids.sort_unstable();
        ids.dedup();
        let clear = match keys.as_slice() {
            [] => false,
            [_] => true,
            many => ids.len() == many.len() && many.iter().all(|trusted| trusted.id.is_some()),
        };
        clear.then_some(Self(keys))
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[Trusted] {
        &self.0
    }

    /// The key for a token that names `kid`.
    fn key(&self, kid: Option<&str>) -> Option<&Trusted> {
        match self.0.as_slice() {
            [only] if only.id.is_none() => Some(only),
            several => several
                .iter()
                .find(|trusted| kid.is_some() && trusted.id.as_deref() == kid),
        }
    }
}

/// Why a bundle is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("bundle is not signed")]
    Unsigned,
    #[error("bundle is signed, and there is no key to check it with")]
    NoKey,
    #[error("signature file is not understood: {0}")]
    Form(&'static str),
    #[error("signature is by a key that is not known, id `{0}`")]
    Kid(String),
    #[error("signature is of another algorithm than the key, `{0}`")]
    Algorithm(String),
    #[error("signature does not hold")]
    Signature,
    #[error("signature is for another scope: `{0}`")]
    Scope(String),
    #[error("file is not in the signature")]
    Unlisted,
    #[error("file is in the signature and not in the bundle")]
    Missing,
    #[error("hash of the file is not one that is taken: `{0}`")]
    Hash(String),
    #[error("file is not as it was signed")]
    Changed,
    #[error("file cannot be hashed: {0}")]
    Canonical(#[from] CanonicalError),
}

/// The signature file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    signatures: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
}

/// The token's header, as it is written.
#[derive(Debug, Serialize)]
struct Head<'a> {
    alg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    typ: &'a str,
}

/// The token's payload; claims of the author's own are let be.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    files: Vec<Listed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// How the key was named before `kid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
}

/// One file of the payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Listed {
    name: String,
    hash: String,
    algorithm: String,
}

/// Which signature held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The token's `kid`.
    pub key: Option<String>,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The payload's `scope`.
    pub scope: Option<String>,
    /// The payload's `iss`.
    pub issuer: Option<String>,
    /// The payload's `iat`, in seconds of Unix time.
    pub issued_at: Option<i64>,
}

/// Checks `entries`; each error with the name of the file it is about, the signature's own where it is about that.
pub(crate) fn verify(
    entries: &[Entry],
    verification: Option<&Verification>,
) -> Result<Option<Signed>, Vec<(String, SignatureError)>> {
    let whole = |error| vec![(FILE.to_owned(), error)];
    let file = entries.iter().find(|entry| entry.name == FILE);
    let (file, verification) = match (file, verification) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(whole(SignatureError::Unsigned)),
        (Some(_), None) => return Err(whole(SignatureError::NoKey)),
        (Some(file), Some(verification)) => (file, verification),
    };
    let (listed, signed) = token(&file.bytes, verification).map_err(whole)?;
    let mut wanted = BTreeMap::new();
    for one in listed {
        let name = one.name.strip_prefix('/').unwrap_or(&one.name).to_owned();
        if wanted.insert(name, one).is_some() {
            return Err(whole(SignatureError::Form("a file is listed twice")));
        }
    }
    let mut errors = Vec::new();
    for entry in entries.iter().filter(|entry| entry.name != FILE) {
        let checked = wanted
            .remove(&entry.name)
            .ok_or(SignatureError::Unlisted)
            .and_then(|one| check(entry, &one));
        if let Err(error) = checked {
            errors.push((entry.name.clone(), error));
        }
    }
    errors.extend(
        wanted
            .into_keys()
            .map(|name| (name, SignatureError::Missing)),
    );
    if errors.is_empty() {
        Ok(Some(signed))
    } else {
        Err(errors)
    }
}

/// The files of the token, which a believed key has signed.
fn token(
    file: &[u8],
    verification: &Verification,
) -> Result<(Vec<Listed>, Signed), SignatureError> {
    use SignatureError::Form;
    let written: Written = object(file).ok_or(Form("no JSON of its form"))?;
    if written.plugin.is_some_and(|plugin| plugin != OWN_PLUGIN) {
        return Err(Form("it wants a plugin"));
    }
    let [token] = written.signatures.as_slice() else {
        return Err(Form("expected one token"));
    };
    let token = Compact::decode(token.as_bytes())
        .map_err(|_| Form("no token of three parts of base64url"))?;
    let header = token.header().map_err(|unreadable| match unreadable {
        UnreadableHeader::Malformed => Form("header of the token"),
        UnreadableHeader::Critical => Form("token has critical extensions"),
    })?;
    // Read before it is believed, only for how keys were named before `kid`.
    let payload: Payload = object(token.payload()).ok_or(Form("payload of the token"))?;
    let kid = header.key_id.as_deref().or(payload.keyid.as_deref());
    let trusted = verification
        .key(kid)
        .ok_or_else(|| SignatureError::Kid(shown(kid.unwrap_or(""))))?;
    if header.algorithm != trusted.key.algorithm().as_str() {
        return Err(SignatureError::Algorithm(shown(&header.algorithm)));
    }
    if !trusted.key.verifies(token.signed(), token.signature()) {
        return Err(SignatureError::Signature);
    }
    let scope = payload.scope.filter(|scope| !scope.is_empty());
    if scope != trusted.scope {
        return Err(SignatureError::Scope(shown(&scope.unwrap_or_default())));
    }
    let signed = Signed {
        key: kid.map(str::to_owned),
        algorithm: trusted.key.algorithm(),
        scope,
        issuer: payload.iss,
        issued_at: payload.iat,
    };
    Ok((payload.files, signed))
}

/// Reads a JSON object. A list would be read too, as the values of all members in their order.
fn object<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let braced = bytes.trim_ascii_start().starts_with(b"{");
    braced.then(|| serde_json::from_slice(bytes).ok()).flatten()
}

/// Enough of a foreign word to recognise it.
fn shown(text: &str) -> String {
    let plain = text.chars().filter(|letter| !letter.is_control());
    plain.take(80).collect()
}

fn check(entry: &Entry, listed: &Listed) -> Result<(), SignatureError> {
    let algorithm =
        hasher(&listed.algorithm).ok_or_else(|| SignatureError::Hash(shown(&listed.algorithm)))?;
    if hash(algorithm, entry)? == listed.hash.to_ascii_lowercase() {
        Ok(())
    } else {
        Err(SignatureError::Changed)
    }
}

/// The hash of a name; weaker ones that OPA still knows are not accepted.
fn hasher(name: &str) -> Option<&'static digest::Algorithm> {
    match name {
        "SHA-256" => Some(&digest::SHA256),
        "SHA-384" => Some(&digest::SHA384),
        "SHA-512" => Some(&digest::SHA512),
        "SHA-512-256" => Some(&digest::SHA512_256),
        _ => None,
    }
}

/// The hash of a file, in lower-case hexadecimal: of its canonical form where it has one for OPA, else of its bytes.
fn hash(algorithm: &'static digest::Algorithm, entry: &Entry) -> Result<String, CanonicalError> {
    let name = entry.name.rsplit('/').next().unwrap_or_default();
    let text = || std::str::from_utf8(&entry.bytes).map_err(|_| CanonicalError::Json(0));
    let digest = match name {
        "data.json" | ".manifest" => digest::digest(algorithm, &canonical::json(text()?)?),
        "data.yaml" => digest::digest(algorithm, &canonical::yaml(text()?)?),
        _ => digest::digest(algorithm, &entry.bytes),
    };
    let digits = digest
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16));
    Ok(digits.collect())
}

/// Signs `entries`; the file to put beside them.
pub(crate) fn sign(
    entries: &[Entry],
    key: &SigningKey,
    id: Option<&str>,
    scope: Option<&str>,
    issued_at: Option<i64>,
) -> Result<Entry, SignError> {
    let listed = |entry: &Entry| {
        Ok(Listed {
            name: entry.name.clone(),
            hash: hash(&digest::SHA256, entry).map_err(|error| SignError::File {
                name: entry.name.clone(),
                reason: error.to_string(),
            })?,
            algorithm: "SHA-256".to_owned(),
        })
    };
    let files: Vec<Listed> = entries
        .iter()
        .filter(|entry| entry.name != FILE)
        .map(listed)
        .collect::<Result<_, SignError>>()?;
    let head = Head {
        alg: key.algorithm().as_str(),
        kid: id,
        typ: "JWT",
    };
    let payload = Payload {
        files,
        scope: scope.map(str::to_owned),
        iat: issued_at,
        iss: None,
        keyid: id.map(str::to_owned),
    };
    let json = |error: serde_json::Error| SignError::Json(error.to_string());
    let (head, payload) = (
        serde_json::to_vec(&head).map_err(json)?,
        serde_json::to_vec(&payload).map_err(json)?,
    );
    let token = keepgate_jose::encode(&head, &payload, |signed| key.sign(signed))?;
    let written = Written {
        signatures: vec![token],
        plugin: None,
    };
    Ok(Entry {
        name: FILE.to_owned(),
        bytes: serde_json::to_vec_pretty(&written).map_err(json)?,
    })
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A file has no hash.
    #[error("file cannot be hashed, {reason}: `{name}`")]
    File {
        /// Its name in the bundle.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The token cannot be written.
    #[error("failed to write the token: {0}")]
    Json(String),
}
