//! Identity of a server: a session belongs to the server it was opened with, and not to another one under its name. So does an
//! approval.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use keepgate_approval::Destination;
use keepgate_call::ServerName;
use keepgate_credential::{Form, Terms, Use, User};

use crate::settings::{HttpWay, Server, Settings, Upstream};

/// Digest of how a server is reached and of which credentials it gets; `None` for a process, whose sessions end with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Definition(Option<[u8; 32]>);

/// Digest of a list of texts, each with its length, so that no two lists have the same bytes.
struct Digest(blake3::Hasher);

impl Digest {
    fn text(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        let text = text.as_ref();
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    fn path(&mut self, path: Option<&PathBuf>) -> &mut Self {
        let bytes = path.map(|path| path.as_os_str().as_encoded_bytes());
        self.text(bytes.unwrap_or_default())
    }

    fn user(&mut self, user: &User) {
        match user {
            User::Named(name) => self.text("named").text(name),
            User::Field(name) => self.text("field").text(name),
        };
    }

    /// Every part of a credential; one that is new does not compile until it is here.
    fn credential(&mut self, used: &Use) {
        let Use {
            reference,
            form,
            terms: Terms { leased, rotation },
        } = used;
        self.text(&*reference.text());
        match form {
            Form::Bearer => {
                self.text("bearer");
            }
            Form::Header(name) => {
                self.text("header").text(name);
            }
            Form::Basic(user) => self.text("basic").user(user),
            Form::Query(name) => {
                self.text("query").text(name);
            }
            Form::Environment { name, user } => {
                self.text("environment").text(name);
                if let Some((variable, user)) = user {
                    self.text(variable).user(user);
                }
            }
        }
        self.text([u8::from(*leased)]);
        self.text(rotation.map_or_else(String::new, |age| age.as_nanos().to_string()));
    }
}

impl Definition {
    /// The identity of `server`. A part of it that is new does not compile until it is here.
    fn of(server: &Server) -> Self {
        let mut digest = Digest(blake3::Hasher::new());
        match &server.upstream {
            Upstream::Child { .. } => return Self(None),
            Upstream::Http {
                transport,
                url,
                way,
                headers,
            } => {
                // The proxy on the way is not the server.
                let HttpWay {
                    ca,
                    identity,
                    egress: _,
                } = way;
                digest.text(transport.as_str()).text(url.to_string());
                digest.path(ca.as_ref());
                digest.path(identity.as_ref().map(|files| &files.certificate));
                digest.path(identity.as_ref().map(|files| &files.key));
                for (name, value) in headers {
                    digest.text(name).text(value);
                }
            }
        }
        digest.text("credential");
        for used in &server.credentials {
            digest.credential(used);
        }
        Self(Some(*digest.0.finalize().as_bytes()))
    }

    /// The identities of all servers.
    pub(crate) fn all(settings: &Settings) -> BTreeMap<ServerName, Self> {
        let servers = settings.servers.iter();
        servers
            .map(|(name, server)| (name.clone(), Self::of(server)))
            .collect()
    }

    /// The digest; `None` for a process.
    pub(super) fn digest(self) -> Option<[u8; 32]> {
        self.0
    }
}

/// The places calls to servers are sent to.
pub(crate) fn destinations(settings: &Settings) -> BTreeMap<ServerName, Arc<Destination>> {
    let servers = settings.servers.iter();
    servers
        .map(|(name, server)| (name.clone(), Arc::new(destination(server))))
        .collect()
}

fn destination(server: &Server) -> Destination {
    let (address, names, digest) = match &server.upstream {
        Upstream::Http { url, .. } => (
            url.to_string(),
            Vec::new(),
            Definition::of(server).0.unwrap_or_default(),
        ),
        Upstream::Child {
            program,
            arguments,
            environment,
            directory,
            // Whom it serves and what it may do on this machine is not where the call goes.
            shared: _,
            launch: _,
        } => {
            let mut digest = Digest(blake3::Hasher::new());
            digest.text(program).path(directory.as_ref());
            for argument in arguments {
                digest.text("argument").text(argument);
            }
            for (name, value) in environment {
                digest.text("variable").text(name).text(value);
            }
            for used in &server.credentials {
                digest.credential(used);
            }
            let names = environment.keys().map(|name| name.as_str().into());
            let words = std::iter::once(program).chain(arguments);
            let words: Vec<_> = words.map(|word| word_of(word)).collect();
            (
                words.join(" "),
                names.collect(),
                *digest.0.finalize().as_bytes(),
            )
        }
    };
    Destination {
        address: address.into(),
        environment: names,
        digest: blake3::Hash::from_bytes(digest).to_hex().as_str().into(),
    }
}

/// A word of a command, in quotes where it would not be seen as one.
fn word_of(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_graphic() && !"\"'`\\$".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("{word:?}")
    }
}

#[cfg(test)]
mod tests;
