//! Where secrets are: references, the vault, and what each server gets.

use http::HeaderName;
use keepgate_credential::{
    Engine, Form, Login, Place, Reference, Settings, Slot, Use, User, VaultSettings, is_variable,
};
use keepgate_gateway::settings::Upstream;

use super::Resolver;
use crate::config::decode::At;
use crate::config::raw::credentials::{self as raw, Form as Written};

/// Header lines that the gateway writes itself, or that steer the connection.
const OURS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "last-event-id",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl Resolver<'_> {
    /// The providers.
    pub(super) fn credentials(&mut self, raw: &raw::Credentials) -> Settings {
        let vault = raw.providers.vault.as_ref();
        Settings {
            vault: vault.and_then(|vault| self.vault(&vault.value)),
        }
    }

    fn vault(&mut self, raw: &raw::Vault) -> Option<VaultSettings> {
        let ca = raw.ca.as_ref().map(|path| self.file(path));
        let address = raw.address.as_ref().and_then(|text| {
            let url = self.url(text)?;
            if url.path() != "/" || url.query().is_some() {
                let hint = "write scheme, host and port only, like https://vault.example:8200";
                self.faults.push(
                    text.fault("URL has a path: the gateway adds /v1")
                        .hint(hint),
                );
                return None;
            }
            self.secret_to(text, &url, raw.plaintext);
            Some(url)
        });
        if raw.max_age.value > VaultSettings::LONGEST_AGE {
            let message = "a secret is used for 60s at most without asking again";
            self.faults.push(raw.max_age.fault(message));
        }
        for (mount, engine) in &raw.mounts {
            if !is_path(mount) {
                self.faults.push(engine.fault("not a mount of a vault").hint(
                    "write it as `vault secrets list` does, without the slash at its end: secret, team/kv",
                ));
            }
        }
        if let Some(namespace) = &raw.namespace
            && !is_path(namespace.value.trim_end_matches('/'))
        {
            self.faults
                .push(namespace.fault("not a namespace of a vault"));
        }
        let login = self.login(&raw.auth);
        Some(VaultSettings {
            address: address?,
            namespace: raw.namespace.as_ref().map(|text| text.value.clone()),
            login: login?,
            wrapped_by: self.wrapped_by(&raw.auth)?,
            mounts: raw
                .mounts
                .iter()
                .map(|(mount, engine)| (mount.clone(), engine.value))
                .collect(),
            ca: ca.flatten(),
            egress: self.egress.clone(),
            timeout: raw.timeout,
            max_age: raw.max_age.value,
        })
    }

    fn login(&mut self, raw: &raw::VaultAuth) -> Option<Login> {
        if let Some(token) = &raw.token {
            return self.local_reference(token).map(Login::Token);
        }
        if let Some(login) = &raw.jwt {
            return self.jwt_login(&login.value);
        }
        let role = &raw.approle.as_ref()?.value;
        let role_id = role.role_id.as_ref().map(|text| self.local_reference(text));
        let secret_id = role
            .secret_id
            .as_ref()
            .map(|text| self.local_reference(text));
        if !is_path(&role.mount.value) {
            self.faults
                .push(role.mount.fault("not a mount of a login method"));
        }
        Some(Login::AppRole {
            mount: role.mount.value.clone(),
            role_id: role_id??,
            secret_id: match secret_id {
                Some(reference) => Some(reference?),
                None => None,
            },
        })
    }

    fn jwt_login(&mut self, raw: &raw::JwtLogin) -> Option<Login> {
        if !is_path(&raw.mount.value) {
            self.faults
                .push(raw.mount.fault("not a mount of a login method"));
        }
        // Before anything returns: every fault of the file is reported at once.
        let token = raw.token.as_ref().map(|text| self.local_reference(text));
        Some(Login::Jwt {
            mount: raw.mount.value.clone(),
            role: raw.role.as_ref()?.value.clone(),
            token: token??,
        })
    }

    /// The path that must have created what the login's secret is wrapped in; `Some(None)` where nothing is wrapped.
    fn wrapped_by(&mut self, raw: &raw::VaultAuth) -> Option<Option<String>> {
        let Some(path) = &raw.wrapped_by else {
            return Some(None);
        };
        let secret_id = raw
            .approle
            .as_ref()
            .is_some_and(|role| role.value.secret_id.is_some());
        if raw.token.is_none() && !secret_id {
            let message = "only `token` and `approle.secret_id` can be wrapped";
            self.faults.push(path.fault(message));
            return None;
        }
        if !is_path(&path.value) {
            let hint = "write the path that is asked for the secret, like auth/approle/role/keepgate/secret-id";
            self.faults
                .push(path.fault("not a path of a vault").hint(hint));
            return None;
        }
        Some(Some(path.value.clone()))
    }

    /// A reference that can be read before the vault is open.
    fn local_reference(&mut self, text: &At<String>) -> Option<Reference> {
        let reference = self.reference(text)?;
        if matches!(reference.place(), Place::Vault { .. }) {
            let message = "what opens the vault cannot be in it";
            self.faults
                .push(text.fault(message).hint("write a file: or env: reference"));
            return None;
        }
        Some(reference)
    }

    pub(super) fn reference(&mut self, text: &At<String>) -> Option<Reference> {
        match Reference::parse(&text.value) {
            Ok(reference) => {
                self.owned.borrow_mut().note_reference(&reference);
                Some(reference)
            }
            Err(error) => {
                // It may be the secret itself.
                self.faults.hide(&text.origin);
                self.faults
                    .push(text.fault(error.to_string()).hint(error.hint()));
                None
            }
        }
    }

    /// What one server gets; `child` says that it is a process.
    pub(super) fn credential(
        &mut self,
        raw: &raw::Credential,
        child: bool,
        settings: &Settings,
    ) -> Option<Use> {
        let reference = raw.reference.as_ref().and_then(|text| self.reference(text));
        let form = self.form(raw, child);
        let wanted = Use {
            reference: reference?,
            form: form?,
            terms: Default::default(),
        };
        if let (Err(error), Some(text)) = (wanted.check(settings), &raw.reference) {
            self.faults.push(text.fault(error.to_string()));
            return None;
        }
        Some(wanted)
    }

    /// The credentials of a server; with `child`, of a process.
    pub(super) fn of_server(
        &mut self,
        written: &[At<raw::Credential>],
        child: bool,
        upstream: Option<&Upstream>,
        settings: &Settings,
    ) -> Vec<Use> {
        let mut all = Vec::new();
        for written in written {
            let Some(used) = self.credential(&written.value, child, settings) else {
                continue;
            };
            if let Some(upstream) = upstream {
                self.alone(written, &used, &all, upstream, settings);
            }
            all.push(used);
        }
        all
    }

    /// Sees to it that a credential shares no place with others of its server, nor with `headers`, `query` and `env`, and no
    /// lease with others.
    pub(super) fn alone<T>(
        &mut self,
        written: &At<T>,
        used: &Use,
        others: &[Use],
        upstream: &Upstream,
        settings: &Settings,
    ) {
        for slot in used.form.slots() {
            let mut taken = others.iter().flat_map(|other| other.form.slots());
            let by = if taken.any(|other| other == slot) {
                "another credential"
            } else if let Some(key) = written_in(upstream, slot) {
                key
            } else {
                continue;
            };
            let message = format!("is in the same place as {by}: {slot}");
            self.faults.push(written.fault(message).hint("remove one"));
        }
        let leased = |used: &Use| match used.reference.place() {
            Place::Vault { path, .. } => {
                let (_, engine, _) = settings.vault.as_ref()?.mount_of(path)?;
                (engine == Engine::Leased).then(|| path.clone())
            }
            Place::File(_) | Place::Systemd(_) | Place::Environment(_) => None,
        };
        // Each would be issued for itself: a user of one lease, a password of another.
        if let Some(path) = leased(used)
            && others
                .iter()
                .any(|other| leased(other).as_ref() == Some(&path))
        {
            let message = format!("would not be of the same lease as another credential: `{path}`");
            let hint = "what is issued together is one credential: `as: environment` or `basic` with `user_field`";
            self.faults.push(written.fault(message).hint(hint));
        }
    }

    fn form(&mut self, raw: &raw::Credential, child: bool) -> Option<Form> {
        let (form, reference) = (raw.form?, raw.reference.as_ref()?);
        if let Some((message, hint)) = misfit(raw, form, child) {
            let fault = reference.fault(message);
            self.faults.push(match hint {
                "" => fault,
                hint => fault.hint(hint),
            });
            return None;
        }
        let name = raw.name.as_ref().map(|name| name.value.as_str());
        match form {
            Written::Bearer => Some(Form::Bearer),
            Written::Header => self.header(raw),
            Written::Basic => user(raw).map(Form::Basic),
            Written::Query => Some(Form::Query(name?.to_owned())),
            Written::Environment => self.variables(raw, name?),
        }
    }

    fn header(&mut self, raw: &raw::Credential) -> Option<Form> {
        let name = raw.name.as_ref()?;
        let parsed: Option<HeaderName> = name.value.to_ascii_lowercase().parse().ok();
        let free = parsed.filter(|header| {
            !OURS.contains(&header.as_str()) && !header.as_str().starts_with("mcp-")
        });
        if free.is_none() {
            let message = format!("not a header line a credential can be in: `{}`", name.value);
            self.faults.push(name.fault(message));
        }
        free.map(Form::Header)
    }

    fn variables(&mut self, raw: &raw::Credential, name: &str) -> Option<Form> {
        let text = raw.name.as_ref()?;
        let user_name = raw.user_name.as_ref();
        for text in [Some(text), user_name].into_iter().flatten() {
            if !is_variable(&text.value) {
                self.faults.push(text.fault("not the name of a variable"));
                return None;
            }
        }
        let user = user(raw);
        if user.is_some() != user_name.is_some() {
            let message =
                "a user in the environment needs `user_name` and one of `user`, `user_field`";
            self.faults.push(text.fault(message));
            return None;
        }
        Some(Form::Environment {
            name: name.to_owned(),
            user: user_name.map(|text| text.value.clone()).zip(user),
        })
    }
}

/// The key of the configuration that fills this place of a server already.
fn written_in(upstream: &Upstream, slot: Slot<'_>) -> Option<&'static str> {
    match (upstream, slot) {
        (Upstream::Http { headers, .. }, Slot::Header(name)) => {
            let mut lines = headers.iter();
            lines.any(|(line, _)| line == name).then_some("`headers`")
        }
        (Upstream::Http { url, .. }, Slot::Query(name)) => {
            let query = url.query().unwrap_or_default().as_bytes();
            let mut parameters = url::form_urlencoded::parse(query);
            let is_there = parameters.any(|(parameter, _)| parameter == name);
            is_there.then_some("`query` or the URL")
        }
        (Upstream::Child { environment, .. }, Slot::Variable(name)) => {
            environment.contains_key(name).then_some("`env`")
        }
        (Upstream::Http { .. }, Slot::Variable(_))
        | (Upstream::Child { .. }, Slot::Header(_) | Slot::Query(_)) => None,
    }
}

/// What of an entry does not go together, and what to do about it.
fn misfit(
    raw: &raw::Credential,
    form: Written,
    child: bool,
) -> Option<(&'static str, &'static str)> {
    let named = matches!(
        form,
        Written::Header | Written::Query | Written::Environment
    );
    let takes_user = matches!(form, Written::Basic | Written::Environment);
    let has_user = raw.user.is_some() || raw.user_field.is_some();
    let plain = |name: &At<String>| {
        let mut bytes = name.value.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let query = form == Written::Query;
    let checks = [
        (
            child && form != Written::Environment,
            "a child process gets its credential `as: environment`",
            "",
        ),
        (
            !child && form == Written::Environment,
            "`as: environment` goes with `command` only",
            "",
        ),
        (
            named && raw.name.is_none(),
            "`name` is missing: of the header, the parameter or the variable",
            "",
        ),
        (
            !named && raw.name.is_some(),
            "`name` goes with header, query and environment only",
            "",
        ),
        (
            !takes_user && has_user,
            "`user` and `user_field` go with basic and environment only",
            "",
        ),
        (
            raw.user.is_some() && raw.user_field.is_some(),
            "has both `user` and `user_field`",
            "remove one",
        ),
        (
            form == Written::Basic && !has_user,
            "`as: basic` needs `user` or `user_field`",
            "",
        ),
        (
            query && !raw.in_url,
            "a secret in a URL ends up in logs of the server and on the way",
            "prefer a header; write `in_url: true` if the server takes nothing else",
        ),
        (
            query && !raw.name.as_ref().is_none_or(plain),
            "the name of a parameter has letters, digits, -, _ and . only",
            "",
        ),
    ];
    let wrong = checks.into_iter().find(|(wrong, _, _)| *wrong);
    wrong.map(|(_, message, hint)| (message, hint))
}

fn user(raw: &raw::Credential) -> Option<User> {
    let named = raw
        .user
        .as_ref()
        .map(|text| User::Named(text.value.clone()));
    let field = raw
        .user_field
        .as_ref()
        .map(|text| User::Field(text.value.clone()));
    named.or(field)
}

/// Whether `text` is a path of a vault without anything that needs encoding.
fn is_path(text: &str) -> bool {
    text.split('/').all(keepgate_credential::is_segment)
}
