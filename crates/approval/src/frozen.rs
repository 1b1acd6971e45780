//! A call as it was evaluated, kept until somebody decides over it.

use std::sync::Arc;

use keepgate_call::Tenant;
use keepgate_store::kill::Facts;
use serde::{Deserialize, Serialize};

/// A frozen call. Its serialized form is what operators are shown, and what is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenCall {
    /// Server, by its name in the configuration.
    pub server: Box<str>,
    /// MCP method.
    pub method: Box<str>,
    /// Tool, prompt or resource.
    pub subject: Option<Box<str>>,
    /// Arguments as they were evaluated, in canonical form ([`keepgate_mcp::json::canonical`]).
    pub arguments: Option<Box<str>>,
    /// Parameters that the method does not define, in canonical form. `_meta` is not among them: it differs with each attempt.
    pub others: Option<Box<str>>,
    /// Arguments as policy has set them, in canonical form; none where it has set none.
    pub sent: Option<Box<str>>,
    /// Fingerprint of the tool's definition, where the server has shown it.
    pub fingerprint: Option<Box<str>>,
    /// Place the call is sent to.
    pub destination: Arc<Destination>,
    /// The caller.
    pub caller: FrozenCaller,
    /// Public id of the session the request was made in.
    pub session: Option<Box<str>>,
    /// References of the credentials the server is given.
    pub credentials: Vec<Arc<str>>,
    /// Name and version the client claims.
    pub client: Option<(Box<str>, Box<str>)>,
    /// The terms of the policy.
    pub requirement: Requirement,
    /// Id of the decision that asked for the approval, as the audit log has it.
    pub decision_id: Box<str>,
}

/// Place a call is sent to, as the configuration has it: another one under the same name is not what was shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// URL, or command with its arguments.
    pub address: Box<str>,
    /// Names of the variables that a process is given.
    pub environment: Vec<Box<str>>,
    /// Digest of all that decides where the call goes: header lines, certificates and values of variables, too.
    pub digest: Box<str>,
}

/// The caller of a frozen call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenCaller {
    /// `anonymous`, `machine` or `user`.
    pub kind: Box<str>,
    /// Subject, within the issuer if there is one.
    pub subject: Box<str>,
    /// Issuer of the access token.
    pub issuer: Option<Box<str>>,
    /// OAuth client of the access token.
    pub client: Option<Box<str>>,
    /// Sign-in behind the access token.
    pub grant: Option<Box<str>>,
    /// Id of the API key.
    pub key: Option<Box<str>>,
    /// Person the API key belongs to.
    pub owner: Option<Box<str>>,
}

/// Terms under which a call is approved, joined over all rules that ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Codes and messages of the rules.
    pub reasons: Vec<(Arc<str>, Arc<str>)>,
    /// Duties of the rules: each has to be met.
    pub duties: Vec<Duty>,
    /// Uses of a yes.
    pub uses: u32,
    /// Seconds the request waits.
    pub ttl_s: u64,
    /// Seconds a yes may be used.
    pub valid_for_s: u64,
    /// Whether a yes is for the session alone that it was asked in. Not written where it is not: so it is with all that came later.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_session_bound: bool,
    /// Window in which a yes may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<GrantWindow>,
    /// Risk the rule names.
    pub risk: Risk,
    /// Revision of the policy.
    pub policy: Arc<str>,
    /// Targets of notifications that the rules name; all where they name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Arc<str>>,
}

/// Window in which a yes may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantWindow {
    /// The first second, of Unix time.
    pub not_before_s: u64,
    /// The first second after it; 0 when there is none to come.
    pub until_s: u64,
    /// As the rules name it.
    pub text: Box<str>,
}

impl GrantWindow {
    /// Whether it is open.
    pub(crate) fn is_open(&self, now_ms: u64) -> bool {
        (self.not_before_s..self.until_s).contains(&(now_ms / 1000))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Requirement {
    /// End of the use of a yes that is given now, in milliseconds of Unix time.
    pub(crate) fn usable_until_ms(&self, now_ms: u64) -> u64 {
        let end = now_ms.saturating_add(self.valid_for_s.saturating_mul(1000));
        let window = self.window.as_ref();
        window.map_or(end, |window| end.min(window.until_s.saturating_mul(1000)))
    }

    /// Begin of its use, where it has one.
    pub(crate) fn not_before_ms(&self) -> Option<u64> {
        let window = self
            .window
            .as_ref()
            .filter(|window| window.not_before_s > 0);
        window.map(|window| window.not_before_s.saturating_mul(1000))
    }

    /// Kind of the grant, as policy names it.
    pub fn kind(&self) -> &'static str {
        match self.uses {
            _ if self.window.is_some() => "window",
            _ if self.is_session_bound => "session",
            0 | 1 => "once",
            2.. => "uses",
        }
    }
}

/// Demand of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duty {
    /// `group:<name>` or `user:<name>`; empty means every operator who may approve.
    pub approvers: Vec<Arc<str>>,
    /// Different people of these who must agree.
    pub quorum: u32,
    /// Place in the order of duties, from 1: those of a step are asked once all before it are met.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub step: u32,
}

/// The step of a rule that names none. It is not written: what was shown by an earlier version has the same digest.
const fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_first(step: &u32) -> bool {
    *step == 1
}

/// Risk of a call, as its rule names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Also who cannot be compared with the caller may approve it.
    Low,
    /// The default.
    High,
}

impl FrozenCall {
    /// The call, as far as kills can name it.
    pub fn facts<'a>(&'a self, tenant: &'a Tenant) -> Facts<'a> {
        let is_tool = &*self.method == "tools/call";
        Facts {
            tenant: tenant.as_str(),
            server: &self.server,
            tool: self.subject.as_deref().filter(|_| is_tool).map(Into::into),
            caller: &self.caller.subject,
            client: self.caller.client.as_deref(),
            grant: self.caller.grant.as_deref(),
            key: self.caller.key.as_deref(),
            session: self.session.as_deref(),
            credentials: &self.credentials,
        }
    }

    /// The call without what it is made with: that may be a megabyte.
    pub(crate) fn outline(self) -> Self {
        Self {
            arguments: None,
            others: None,
            sent: None,
            ..self
        }
    }

    /// Digest of what an operator is shown: of everything here.
    pub fn shown(&self) -> String {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        blake3::hash(&bytes).to_hex().to_string()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use keepgate_call::Tenant;

    use super::{Duty, FrozenCall, FrozenCaller, Requirement, Risk};
    use crate::{CallDigest, StoreKey};

    /// A call of a key without an owner.
    pub(crate) fn call() -> FrozenCall {
        FrozenCall {
            server: "crm".into(),
            method: "tools/call".into(),
            subject: Some("delete_account".into()),
            arguments: Some(r#"{"id":7}"#.into()),
            others: None,
            sent: None,
            fingerprint: Some("f1".into()),
            destination: Arc::default(),
            caller: FrozenCaller {
                kind: "machine".into(),
                subject: "agent".into(),
                issuer: None,
                client: None,
                grant: None,
                key: Some("k1".into()),
                owner: None,
            },
            session: Some("s1".into()),
            credentials: vec!["file:token".into()],
            client: Some(("client".into(), "1".into())),
            requirement: Requirement {
                reasons: vec![("destructive".into(), "deletes".into())],
                duties: vec![Duty {
                    approvers: Vec::new(),
                    quorum: 1,
                    step: 1,
                }],
                uses: 1,
                ttl_s: 900,
                valid_for_s: 900,
                is_session_bound: false,
                window: None,
                risk: Risk::High,
                policy: "r1".into(),
                notify: Vec::new(),
            },
            decision_id: "d1".into(),
        }
    }

    #[test]
    fn the_digest_binds_what_a_call_does_and_for_whom() {
        let state = tempfile::tempdir().expect("a directory");
        let key = StoreKey::read_or_make(state.path()).expect("a key");
        let tenant = Tenant::new("a");
        let digest = |call: &FrozenCall| CallDigest::of(&key, &tenant, call);
        let own = digest(&call());
        assert_eq!(own, digest(&call()));
        let other = |change: fn(&mut FrozenCall)| {
            let mut call = call();
            change(&mut call);
            digest(&call)
        };
        let others = [
            other(|call| call.server = "crm2".into()),
            other(|call| call.method = "prompts/get".into()),
            other(|call| call.subject = Some("delete_accounts".into())),
            other(|call| call.subject = None),
            other(|call| call.arguments = Some(r#"{"id":8}"#.into())),
            other(|call| call.arguments = None),
            other(|call| call.others = Some("{}".into())),
            other(|call| call.fingerprint = Some("f2".into())),
            other(|call| call.fingerprint = None),
            other(|call| call.caller.subject = "agent2".into()),
            other(|call| call.caller.issuer = Some("https://idp.example".into())),
            other(|call| call.caller.client = Some("c".into())),
            // The border between two parts is not moved.
            other(|call| {
                call.server = "cr".into();
                call.method = "mtools/call".into();
            }),
            CallDigest::of(&key, &Tenant::new("b"), &call()),
        ];
        for (at, digest) in others.iter().enumerate() {
            assert_ne!(*digest, own, "{at}");
        }
        // Of the retry.
        let same = [
            other(|call| call.session = None),
            other(|call| call.credentials.clear()),
            other(|call| call.client = None),
            other(|call| call.caller.key = Some("k2".into())),
            other(|call| call.caller.grant = Some("g".into())),
            other(|call| call.requirement.uses = 2),
            other(|call| call.decision_id = "d2".into()),
        ];
        for (at, digest) in same.iter().enumerate() {
            assert_eq!(*digest, own, "{at}");
        }
    }
}
