//! Identity of a server: a session belongs to the server it was opened with, and not to another one under its name.

use std::{collections::BTreeMap, path::PathBuf};

use keepgate_call::ServerName;
use keepgate_credential::{Form, Terms, Use, User};

use crate::settings::{HttpWay, Server, Settings, Upstream};

/// Digest of how a server is reached and of which credentials it gets; `None` for a process, whose sessions end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    fn path(&mut self, path: Option<&PathBuf>) {
        let bytes = path.map(|path| path.as_os_str().as_encoded_bytes());
        self.text(bytes.unwrap_or_default());
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
