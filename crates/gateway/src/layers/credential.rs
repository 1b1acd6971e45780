//! Credential: the only place where a call gets the header lines the server will see.
//!
//! They are built from nothing, so no line of the client's can travel by accident: not its `Authorization`, not its
//! `Cookie`, no hop-by-hop line. A server that wants credentials gets its own here, all of them or no call, and what any server sends back is
//! searched for every secret of the gateway; see `keepgate_credential`.

mod context;
mod echo;

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use keepgate_call::{Ask, Call, Code, Refusal, Reply, ServerName};
use keepgate_credential::{Acquired, CredentialSet, Live};
use keepgate_mcp::{Era, header as mirror, message::Message};
use keepgate_store::kill::Switch;

use keepgate_transport::Clearance;

use keepgate_telemetry::{
    metrics::{Counter, Family, Registry},
    trace::Tracer,
};

use self::echo::Echo;
use super::{approval::Release, audit::Recorded, session::Bound};
use crate::{around::Around, inspection::Inspection, shared::Shared};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Arms calls for their way to the server, and masks what comes back.
#[derive(Debug)]
pub struct Attach {
    tracer: Arc<Tracer>,
    sets: Arc<BTreeMap<ServerName, Arc<CredentialSet>>>,
    switch: Arc<Switch>,
    live: Arc<Live>,
    inspection: Arc<Inspection>,
    meters: Meters,
}

/// A call ready to be sent. Only this file makes one, and only from a call whose intent is on record.
#[derive(Debug)]
pub struct Armed {
    bound: Bound,
    headers: HeaderMap,
    credential: Option<Credential>,
    release: Option<Arc<Release>>,
}

/// What a call is sent with, and where others come from for what is said to the server later.
#[derive(Debug, Clone)]
pub struct Credential {
    /// What may be used now: each credential of the set.
    pub held: Acquired,
    /// Where it came from.
    pub set: Arc<CredentialSet>,
}

impl Armed {
    /// The call.
    pub fn call(&self) -> &Arc<Call> {
        &self.bound.call
    }

    /// The use of an approval that lets it leave, where one is needed.
    pub fn release(&self) -> Option<&Arc<Release>> {
        self.release.as_ref()
    }

    /// The call, every header line that goes with it, the credential for what is no header line, and what is asked before
    /// anything of it leaves.
    pub fn into_parts(
        self,
    ) -> (
        Bound,
        HeaderMap,
        Option<Credential>,
        Option<Arc<dyn Clearance>>,
    ) {
        let clearance = self.release.map(|release| release as Arc<dyn Clearance>);
        (self.bound, self.headers, self.credential, clearance)
    }
}

/// What is counted.
#[derive(Debug, Clone)]
struct Meters {
    missing: Family<Counter, 3>,
    masked: Family<Counter, 1>,
}

impl Meters {
    fn new(registry: &Registry) -> Self {
        Self {
            missing: registry.counter(
                "keepgate.credential.missing",
                "Calls refused because a credential could not be had, by server, cause and reference",
                &[
                    "keepgate.server.name",
                    "keepgate.cause",
                    "keepgate.credential.reference",
                ],
            ),
            masked: registry.counter(
                "keepgate.credential.masked",
                "Messages of a server in which a secret of the gateway was masked",
                &["keepgate.server.name"],
            ),
        }
    }

    fn masked(&self, server: &ServerName) {
        self.masked.with([server.as_str()], Counter::increment);
    }
}

impl Attach {
    /// A layer over the credentials of now; a reload makes another. Servers are told the trace context as the tracer
    /// allows.
    pub fn new(shared: &Shared) -> Self {
        Self {
            tracer: Arc::clone(&shared.tracer),
            sets: shared.credentials.sets(),
            switch: Arc::clone(&shared.kill),
            live: Arc::clone(shared.credentials.live()),
            inspection: Arc::clone(&shared.inspection),
            meters: Meters::new(shared.meters.registry()),
        }
    }

    /// What the call is sent with: its server's own, or what policy says `instead`.
    async fn credential(
        &self,
        call: &Call,
        instead: Option<Arc<CredentialSet>>,
    ) -> Result<Option<Credential>, Refusal> {
        let Some(set) = instead.as_ref().or_else(|| self.sets.get(&call.server)) else {
            return Ok(None);
        };
        // A session may end under a kill, without any credential where one was killed.
        if matches!(call.ask, Ask::End) && is_withheld(set, &self.switch) {
            return Ok(None);
        }
        call.credential.wanted(Arc::clone(set.text()));
        let held = set.acquire().await.map_err(|error| {
            let (word, reference) = (error.fault.word(), &error.reference);
            call.credential.failed(word, Arc::clone(reference));
            let labels = [call.server.as_str(), word, reference];
            self.meters.missing.with(labels, Counter::increment);
            Refusal::new(Code::CredentialUnavailable).source(error)
        })?;
        if let Some(lease) = held.lease() {
            call.credential.leased(lease);
        }
        Ok(Some(Credential {
            held,
            set: Arc::clone(set),
        }))
    }
}

impl Around<Recorded> for Attach {
    type Out = Armed;
    type Reply = Reply;

    async fn run<N, F>(&self, recorded: Recorded, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Armed) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let (bound, instead, release) = recorded.into_parts();
        let mut headers = headers(&bound.call)?;
        if let Some(id) = &bound.resume {
            headers.insert(LAST_EVENT_ID, value(id.clone())?);
        }
        context::attach(&bound.call, &self.tracer, &mut headers)?;
        let credential = self.credential(&bound.call, instead).await?;
        if let Some(credential) = &credential {
            attach(&credential.held, &mut headers);
        }
        let call = Arc::clone(&bound.call);
        let armed = Armed {
            bound,
            headers,
            credential: credential.clone(),
            release,
        };
        let Reply { answer, session } = next(armed).await.inspect_err(|refusal| {
            // Never this call again: the next one fetches anew.
            if refusal.code == Code::CredentialRejected
                && let Some(Credential { held, set }) = &credential
            {
                set.reject(held);
            }
        })?;
        let echo = Echo::new(call, &self.live, &self.inspection, &self.meters);
        let answer = echo.masked(answer).await?;
        Ok(Reply { answer, session })
    }
}

/// The header lines of what the gateway says to a server by itself (that a session is over, that nobody waits), with the
/// credentials that are held now. Nothing is fetched for it: what was ended stays so. `None` if the server wants some and
/// one of them is not there, or is killed.
pub fn own(
    set: Option<&Arc<CredentialSet>>,
    switch: &Switch,
) -> Option<(HeaderMap, Option<Credential>)> {
    let mut headers = HeaderMap::new();
    let Some(set) = set else {
        return Some((headers, None));
    };
    if is_withheld(set, switch) {
        return None;
    }
    let held = set.held()?;
    attach(&held, &mut headers);
    let credential = Credential {
        held,
        set: Arc::clone(set),
    };
    Some((headers, Some(credential)))
}

/// Whether a kill covers one of these credentials: then none of them is sent.
fn is_withheld(set: &CredentialSet, switch: &Switch) -> bool {
    let mut sources = set.sources();
    sources.any(|source| switch.withholds(source.wanted().reference.as_str()))
}

/// Last, so that no line of the client's stands in its place.
fn attach(held: &Acquired, headers: &mut HeaderMap) {
    for (name, value) in held.iter().filter_map(|held| held.material().line()) {
        headers.insert(name, value.clone());
    }
}

fn headers(call: &Call) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(8);
    let accept = match call.ask {
        Ask::Message(_) => {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            "application/json, text/event-stream"
        }
        Ask::Listen => "text/event-stream",
        Ask::End => "application/json",
    };
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    // 2025-03-26 knows no such header, and at `initialize` the version is still being agreed on.
    if call.revision.facts().version_header && !call.opens() {
        headers.insert(
            PROTOCOL_VERSION,
            HeaderValue::from_static(call.revision.as_str()),
        );
    }
    if call.revision.era() == Era::Stateless {
        mirrored(call, &mut headers)?;
    }
    Ok(headers)
}

/// Mirrors the body, never the client's lines: they were compared with it already, and what we say must be what we
/// judged (SEP-2243).
fn mirrored(call: &Call, headers: &mut HeaderMap) -> Result<(), Refusal> {
    let Ask::Message(message) = &call.ask else {
        return Ok(());
    };
    if let Some(method) = message.method() {
        headers.insert(METHOD, text(method.as_str())?);
    }
    if let Message::Request(request) = message
        && let Some(name) = keepgate_mcp::mirror::name_of(request)
    {
        headers.insert(NAME, text(&name)?);
    }
    for (name, line) in call.mirrored() {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| Refusal::new(Code::HeaderInvalid).source(error))?;
        headers.insert(name, value(line.clone())?);
    }
    Ok(())
}

fn text(text: &str) -> Result<HeaderValue, Refusal> {
    value(bytes::Bytes::copy_from_slice(
        mirror::encode_value(text).as_bytes(),
    ))
}

fn value(bytes: bytes::Bytes) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_maybe_shared(bytes)
        .map_err(|error| Refusal::new(Code::HeaderInvalid).source(error))
}
