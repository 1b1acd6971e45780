//! A secret made ready: the header line, the query or the variables a server gets, built once and shared by calls.

use std::{sync::Arc, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use crate::{
    error::Fault,
    live::Holder,
    secret::{LONGEST, SHORTEST, Secret},
    settings::{Form, User},
};

/// What a provider gave.
pub(crate) struct Raw {
    /// The secret.
    pub(crate) secret: Secret,
    /// The user, where the form takes one out of a field.
    pub(crate) user: Option<Secret>,
    /// The id of its lease, if it has one.
    pub(crate) lease: Option<Arc<str>>,
    /// When it was written, where its provider says so.
    pub(crate) created: Option<SystemTime>,
}

/// A secret in the form its server gets it.
pub struct Material {
    /// Differs whenever the secret does.
    pub(crate) generation: u64,
    raw: Raw,
    ready: Ready,
}

enum Ready {
    Line(HeaderName, HeaderValue),
    /// `name=value`, percent-encoded.
    Query(Secret),
    /// Names and values.
    Variables(Vec<(Box<str>, Secret)>),
}

impl Material {
    /// Makes `raw` ready as `form` says.
    ///
    /// # Errors
    /// [`Fault::TooShort`], [`Fault::TooLong`], [`Fault::Unsendable`].
    pub(crate) fn new(raw: Raw, form: &Form, generation: u64) -> Result<Self, Fault> {
        if raw.secret.len() < SHORTEST {
            return Err(Fault::TooShort);
        }
        if raw.secret.len() > LONGEST {
            return Err(Fault::TooLong);
        }
        let ready = ready(&raw, form)?;
        Ok(Self {
            generation,
            raw,
            ready,
        })
    }

    /// Differs whenever the secret does, within one source.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The header line, marked sensitive; its memory is overwritten when the last clone is dropped.
    pub fn line(&self) -> Option<(&HeaderName, &HeaderValue)> {
        match &self.ready {
            Ready::Line(name, value) => Some((name, value)),
            Ready::Query(_) | Ready::Variables(_) => None,
        }
    }

    /// What is added to the query of the server's URL.
    pub fn query(&self) -> Option<&str> {
        match &self.ready {
            Ready::Query(query) => query.expose_text(),
            Ready::Line(..) | Ready::Variables(_) => None,
        }
    }

    /// The variables a child process is started with.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let variables = match &self.ready {
            Ready::Variables(variables) => variables.as_slice(),
            Ready::Line(..) | Ready::Query(_) => &[],
        };
        variables
            .iter()
            .map(|(name, value)| (&**name, value.expose()))
    }

    /// The id of the lease. Not secret, but nobody's business: records carry a keyed digest of it.
    pub fn lease(&self) -> Option<&Arc<str>> {
        self.raw.lease.as_ref()
    }

    /// When the secret was written, where its provider says so (version 2 of KV does).
    pub fn created(&self) -> Option<SystemTime> {
        self.raw.created
    }

    /// Whether it is made of the same as `raw`.
    pub(crate) fn is_same(&self, raw: &Raw) -> bool {
        let user = |raw: &Raw| raw.user.as_ref().map(|user| user.expose().to_vec());
        self.raw.secret.expose() == raw.secret.expose()
            && user(&self.raw) == user(raw)
            && self.raw.lease == raw.lease
    }
}

impl Holder for Material {
    fn secret(&self) -> &Secret {
        &self.raw.secret
    }
}

fn ready(raw: &Raw, form: &Form) -> Result<Ready, Fault> {
    let secret = raw.secret.expose();
    match form {
        Form::Bearer => {
            let mut text = Vec::with_capacity(7 + secret.len());
            text.extend_from_slice(b"Bearer ");
            text.extend_from_slice(secret);
            Ok(Ready::Line(header::AUTHORIZATION, value(text)?))
        }
        Form::Header(name) => Ok(Ready::Line(name.clone(), value(secret.to_vec())?)),
        Form::Basic(user) => {
            let line = basic(user_of(raw, user)?, secret)?;
            Ok(Ready::Line(header::AUTHORIZATION, line))
        }
        Form::Query(name) => {
            let mut text = Vec::with_capacity(name.len() + 1 + secret.len() * 3);
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            crate::mask::encode::percent(secret, &mut text);
            Ok(Ready::Query(Secret::new(text)))
        }
        Form::Environment { name, user } => {
            let mut variables = vec![(name.as_str().into(), variable(secret)?)];
            if let Some((name, user)) = user {
                variables.push((name.as_str().into(), variable(user_of(raw, user)?)?));
            }
            Ok(Ready::Variables(variables))
        }
    }
}

/// A line `Basic ..` (RFC 7617).
pub(crate) fn basic(user: &[u8], secret: &[u8]) -> Result<HeaderValue, Fault> {
    // A user with a colon would end early.
    if user.contains(&b':') || !printable(user) || !printable(secret) {
        return Err(Fault::Unsendable);
    }
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + secret.len()));
    pair.extend_from_slice(user);
    pair.push(b':');
    pair.extend_from_slice(secret);
    let mut text = String::with_capacity(6 + pair.len().div_ceil(3) * 4);
    text.push_str("Basic ");
    STANDARD.encode_string(&*pair, &mut text);
    value(text.into_bytes())
}

fn user_of<'a>(raw: &'a Raw, user: &'a User) -> Result<&'a [u8], Fault> {
    match user {
        User::Named(name) => Ok(name.as_bytes()),
        User::Field(_) => raw.user.as_ref().map(Secret::expose).ok_or(Fault::NoField),
    }
}

fn printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| !byte.is_ascii_control())
}

fn variable(bytes: &[u8]) -> Result<Secret, Fault> {
    if bytes.contains(&0) {
        return Err(Fault::Unsendable);
    }
    Ok(Secret::new(bytes.to_vec()))
}

/// A header value that no proxy reads in two ways, prints or indexes (RFC 9110 §5.5, RFC 7541 §7.1.3).
fn value(text: Vec<u8>) -> Result<HeaderValue, Fault> {
    let owner = Secret::new(text);
    let shown = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let bytes = owner.expose();
    let fine = bytes.iter().all(shown) && !bytes.starts_with(b" ") && !bytes.ends_with(b" ");
    if !fine {
        return Err(Fault::Unsendable);
    }
    let mut value =
        HeaderValue::from_maybe_shared(Bytes::from_owner(owner)).map_err(|_| Fault::Unsendable)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{Fault, Form, Material, Raw, Secret, User};

    fn made(secret: &str, form: &Form) -> Result<Material, Fault> {
        let raw = Raw {
            secret: Secret::new(secret.into()),
            user: Some(Secret::new(b"alice".to_vec())),
            lease: None,
            created: None,
        };
        Material::new(raw, form, 1)
    }

    #[test]
    fn each_form_shows_the_secret_its_way() {
        let line = |form: Form| {
            let material = made("s3cr3t/+token", &form).ok().unwrap();
            let (name, value) = material.line().unwrap();
            assert!(value.is_sensitive());
            assert!(!format!("{value:?}").contains("s3cr3t"));
            format!("{name}: {}", value.to_str().unwrap())
        };
        assert_eq!(line(Form::Bearer), "authorization: Bearer s3cr3t/+token");
        assert_eq!(
            line(Form::Header("x-api-key".parse().unwrap())),
            "x-api-key: s3cr3t/+token"
        );
        assert_eq!(
            line(Form::Basic(User::Named("svc".into()))),
            "authorization: Basic c3ZjOnMzY3IzdC8rdG9rZW4="
        );
        assert_eq!(
            line(Form::Basic(User::Field("username".into()))),
            "authorization: Basic YWxpY2U6czNjcjN0Lyt0b2tlbg=="
        );
        let query = made("s3cr3t/+token", &Form::Query("key".into()))
            .ok()
            .unwrap();
        assert_eq!(query.query(), Some("key=s3cr3t%2F%2Btoken"));
        let form = Form::Environment {
            name: "PGPASSWORD".into(),
            user: Some(("PGUSER".into(), User::Field("username".into()))),
        };
        let child = made("s3cr3t/+token", &form).ok().unwrap();
        assert_eq!(
            child.variables().collect::<Vec<_>>(),
            [
                ("PGPASSWORD", &b"s3cr3t/+token"[..]),
                ("PGUSER", &b"alice"[..])
            ]
        );
    }

    #[test]
    fn what_cannot_be_sent_or_masked_is_refused() {
        let word = |secret: &str, form: &Form| match made(secret, form) {
            Ok(_) => "ok",
            Err(fault) => fault.word(),
        };
        assert_eq!(word("1234567", &Form::Bearer), "too_short");
        assert_eq!(word("two\nlines of it", &Form::Bearer), "unsendable");
        assert_eq!(
            word(" padded secret", &Form::Header("x-a".parse().unwrap())),
            "unsendable"
        );
        assert_eq!(word("päßwörter", &Form::Bearer), "unsendable");
        assert_eq!(
            word("päßwörter", &Form::Basic(User::Named("a".into()))),
            "ok"
        );
        assert_eq!(
            word("12345678", &Form::Basic(User::Named("a:b".into()))),
            "unsendable"
        );
        let variable = Form::Environment {
            name: "A".into(),
            user: None,
        };
        assert_eq!(word("a\0bcdefgh", &variable), "unsendable");
    }
}
