//! The stages between reading a message and passing it on, called as the gateway's layers call them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use keepgate_audit::{Caller, Kind, Log, Outcome, Reason, Record, Status};
use keepgate_call::DecisionId;
use keepgate_mcp::message::{Message, Request};
use keepgate_mcp::{Body, Era, Framing, Limits, Mirrored, classify, decode, method};
use keepgate_policy::{
    CallerFacts, CallerFields, Decision, Effect, Facts, HistoryFacts, Phase, Policy, RequestFacts,
    ServerFacts, ServerFields, SessionFacts, Subject, ToolFacts, ToolFields,
};

use super::{Refused, Settings, With};
use crate::error::Error;
use crate::traffic;
use crate::workload::{Tool, Workload};

/// The stages that are switched on.
pub(super) struct Stages {
    with: With,
    judge: Option<Judge>,
    log: Option<Log>,
}

/// A message that went through the stages of the way down.
pub(super) struct Judged {
    bytes: Bytes,
    /// The call, when the message is one and was decoded.
    call: Option<Call>,
}

impl Judged {
    /// What goes upstream.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A decoded call.
pub(super) struct Call {
    id: DecisionId,
    framing: Framing,
    request: Request,
}

impl Call {
    /// The call a workload makes.
    pub(super) fn of(workload: Workload) -> Result<Self, Error> {
        let body = traffic::call_body(workload);
        let decoded =
            decode(body.into(), &Limits::request()).map_err(Error::part("decode a call"))?;
        let name = workload.tool().name();
        let version = workload.stateless().then_some("2026-07-28");
        let mirrored = Mirrored {
            protocol_version: Some(version.unwrap_or("2025-11-25")),
            method: version.map(|_| "tools/call".into()),
            name: version.map(|_| name.into()),
            ..Mirrored::default()
        };
        let framing =
            classify(&mirrored, &decoded, None).map_err(Error::part("classify a call"))?;
        match decoded {
            Body::Single(Message::Request(request)) => Ok(Self {
                id: fresh_id(),
                framing,
                request,
            }),
            Body::Single(Message::Notification(_) | Message::Response(_)) | Body::Batch(_) => {
                Err(Error::Reply("a call that is none".into()))
            }
        }
    }
}

impl Stages {
    /// Loads the policy and opens the log, as far as they are asked for.
    pub(super) fn start(settings: &Settings) -> Result<Self, Error> {
        let with = settings.with;
        let judge = (with >= With::Policy)
            .then(|| Judge::load(&settings.policy))
            .transpose()?;
        let log = (with >= With::Audit).then(|| {
            let settings =
                keepgate_audit::Settings::new(&settings.log, "keepgate.bench/log", "bench");
            Log::open(settings).map_err(Error::part("open the audit log"))
        });
        Ok(Self {
            with,
            judge,
            log: log.transpose()?,
        })
    }

    /// The way down.
    pub(super) async fn request(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Judged, Refused> {
        if self.with < With::Decode {
            return Ok(Judged {
                bytes: body,
                call: None,
            });
        }
        let refused = || Refused(StatusCode::BAD_REQUEST);
        let lines = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mirrored = Mirrored::read(lines).map_err(|_| refused())?;
        let decoded = decode(body, &Limits::request()).map_err(|_| refused())?;
        let framing = classify(&mirrored, &decoded, None).map_err(|_| refused())?;
        let Body::Single(message) = decoded else {
            return Err(refused());
        };
        let bytes = message.bytes().clone();
        let call = match message {
            Message::Request(request) => Some(Call {
                id: fresh_id(),
                framing,
                request,
            }),
            Message::Notification(_) | Message::Response(_) => None,
        };
        if let Some(call) = &call {
            self.permit(call).await?;
        }
        Ok(Judged { bytes, call })
    }

    /// Policy and intent. What is not a tool call is part of the protocol and passes.
    async fn permit(&self, call: &Call) -> Result<(), Refused> {
        let Some(judge) = &self.judge else {
            return Ok(());
        };
        let method::Subject::Tool(name) = call.request.subject() else {
            return Ok(());
        };
        let decision = judge.decide(call, &name);
        if decision.effect != Effect::Allow {
            return Err(Refused(StatusCode::FORBIDDEN));
        }
        let Some(log) = &self.log else {
            return Ok(());
        };
        let written = intent(log, call, &name, &decision);
        written
            .await
            .map_err(|_| Refused(StatusCode::SERVICE_UNAVAILABLE))?;
        Ok(())
    }

    /// A stream begins.
    pub(super) async fn open(&self, judged: &Judged) -> Result<(), Refused> {
        let (Some(log), Some(call)) = (&self.log, &judged.call) else {
            return Ok(());
        };
        let written = log.append(&record(call, Kind::CallOpen));
        written
            .await
            .map_err(|_| Refused(StatusCode::SERVICE_UNAVAILABLE))?;
        Ok(())
    }

    /// The way back: the reply to `judged`, decoded, and on record before it is released.
    pub(super) async fn reply(&self, judged: &Judged, body: Bytes) -> Result<Bytes, Refused> {
        let Some(call) = &judged.call else {
            return Ok(body);
        };
        let refused = || Refused(StatusCode::BAD_GATEWAY);
        let decoded = decode(body, &Limits::reply()).map_err(|_| refused())?;
        let Body::Single(Message::Response(response)) = decoded else {
            return Err(refused());
        };
        if response.id() != Some(call.request.id()) {
            return Err(refused());
        }
        let bytes = response.bytes().clone();
        if let Some(log) = &self.log {
            let status = if response.is_tool_error() {
                Status::ToolError
            } else {
                Status::Ok
            };
            let mut record = record(call, Kind::CallOutcome);
            record.result = Some(Outcome {
                bytes: Some(bytes.len() as u64),
                ..Outcome::new(status)
            });
            let written = log.append(&record);
            written
                .await
                .map_err(|_| Refused(StatusCode::SERVICE_UNAVAILABLE))?;
        }
        Ok(bytes)
    }
}

/// An id per call. The gateway's has random bits where this one counts: nobody here has to be kept from guessing.
fn fresh_id() -> DecisionId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let milliseconds = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    DecisionId::new(milliseconds, NEXT.fetch_add(1, Ordering::Relaxed).into())
}

fn record(call: &Call, kind: Kind) -> Record<'_> {
    let mut record = Record::new(kind, SystemTime::now());
    record.decision_id = Some(call.id.as_str());
    record.tenant = Some("default");
    record.caller = Some(Caller {
        kind: "machine",
        user_id: "bench",
        key_id: Some("0123456789abcdef"),
        issuer: None,
        client_id: None,
    });
    record.server = Some("bench");
    record.method = Some(call.request.method().as_str());
    record.protocol_version = Some(call.framing.revision.as_str());
    record
}

fn intent(log: &Log, call: &Call, tool: &str, decision: &Decision) -> keepgate_audit::Append {
    let arguments = call.request.param("arguments").map(|raw| raw.as_bytes());
    let digest = arguments.map(|text| log.digest("default", "args", text));
    let reasons: Vec<Reason<'_>> = decision
        .reasons
        .iter()
        .map(|reason| Reason {
            code: &reason.code,
            message: &reason.message,
        })
        .collect();
    let mut record = record(call, Kind::CallIntent);
    record.tool_name = Some(tool);
    record.request_bytes = Some(call.request.bytes().len() as u64);
    record.args_digest = digest.as_deref();
    record.decision = Some(keepgate_audit::Decision::Allow);
    record.policy_rev = Some(&decision.revision);
    record.reasons = &reasons;
    log.append(&record)
}

/// The policy and the facts every call of the bench shares.
pub(super) struct Judge {
    policy: Policy,
    caller: CallerFacts,
    server: ServerFacts,
    tools: Vec<(Tool, ToolFacts)>,
}

impl Judge {
    /// Loads the policy and converts what the gateway converts once.
    pub(super) fn load(folder: &Path) -> Result<Self, Error> {
        let policy = Policy::load(&[folder.to_owned()], &keepgate_policy::Settings::default())
            .map_err(Error::part("load the policy"))?;
        let caller = CallerFacts::new(&CallerFields {
            subject: "bench",
            kind: "machine",
            roles: &["analyst"],
            scopes: &["reports"],
            ..CallerFields::default()
        })
        .map_err(Error::part("convert a caller"))?;
        let server = ServerFacts::new(&ServerFields {
            name: "bench",
            owner: "crm-team",
            environment: "production",
            ..ServerFields::default()
        });
        let mut tools = Vec::new();
        for tool in Tool::ALL {
            let fields = ToolFields {
                name: tool.name(),
                ..ToolFields::default()
            };
            let facts = ToolFacts::new(&fields).map_err(Error::part("convert a tool"))?;
            tools.push((tool, facts));
        }
        Ok(Self {
            policy,
            caller,
            server,
            tools,
        })
    }

    /// Judges a call of `tool`.
    pub(super) fn decide(&self, call: &Call, tool: &str) -> Decision {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let definition = self.tools.iter().find(|(known, _)| known.name() == tool);
        let session =
            (call.framing.era == Era::Stateful).then_some("0123456789abcdef0123456789abcdef");
        self.policy.judge(&Facts {
            phase: Phase::Call,
            caller: &self.caller,
            server: &self.server,
            client: None,
            session: Some(SessionFacts {
                id: session,
                age_s: session.map(|_| 12),
                revision: call.framing.revision.as_str(),
                transport: "http",
                initiated_by: None,
            }),
            tenant: "default",
            method: call.request.method().as_str(),
            subject: Subject::Tool {
                name: tool,
                definition: definition.map(|(_, facts)| facts),
            },
            arguments: call.request.param("arguments").map(|raw| raw.as_str()),
            response: None,
            history: HistoryFacts::NONE,
            labels: &[],
            approval: None,
            id: "",
            request: RequestFacts {
                unix_nanos: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
                ip: Some([127, 0, 0, 1].into()),
                size: call.request.bytes().len() as u64,
                trace: None,
            },
        })
    }
}
