//! One approval: everything that would be sent, who asks, who has decided, and the decision.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{Decision, Permission, Refused, Revocation, Source};
use keepgate_approval::{DecisionView, FrozenCall, Requirement, Risk, Verdict, View};
use keepgate_store::approvals::ApprovalState;

use super::{Answered, Desk, Frame, Nav, Problem, path_with};
use crate::{
    form::Form,
    moment::{ago, left, length, moment},
    respond::{page, see},
    text::Hostile,
    tree::Tree,
};

/// Letters of a digest that a person compares.
const SHORT: usize = 16;

#[derive(Template)]
#[template(path = "approval.html")]
struct ApprovalPage {
    frame: Frame,
    back: String,
    heading: Hostile,
    subject: Hostile,
    server: Hostile,
    state: &'static str,
    state_text: &'static str,
    is_high: bool,
    is_pending: bool,
    until: String,
    left: String,
    problem: Option<Problem>,
    is_sealed: bool,
    reasons: Vec<ReasonLine>,
    arguments: Tree,
    sent: Option<Tree>,
    others: Option<Tree>,
    facts: Vec<FactLine>,
    identifiers: Vec<FactLine>,
    duties: Vec<DutyLine>,
    decisions: Vec<DecisionLine>,
    decide: Option<DecideForm>,
    undecidable: Option<&'static str>,
    revoke: Option<RevokeForm>,
}

struct ReasonLine {
    code: Hostile,
    message: Hostile,
}

/// A name with its value.
pub(super) struct FactLine {
    pub(super) name: &'static str,
    pub(super) value: Hostile,
}

struct DutyLine {
    /// Its step, where there are several.
    step: Option<u32>,
    text: String,
    approvers: Vec<Hostile>,
}

struct DecisionLine {
    operator: Hostile,
    verdict: &'static str,
    act: &'static str,
    at: String,
    ago: String,
    reason: Hostile,
}

struct DecideForm {
    action: String,
    token: String,
    shown: String,
    digest: String,
    reason: String,
    covers: String,
    approve: String,
}

struct RevokeForm {
    action: String,
    token: String,
    reason: String,
    covers: &'static str,
    name: &'static str,
}

/// A form of the page of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ApprovalForm {
    Decision,
    Revocation,
}

/// A form that did not do what it should, and its reason, so that a person need not write it again.
pub(crate) struct Failed<'a> {
    refused: Refused,
    form: ApprovalForm,
    reason: &'a str,
}

impl Failed<'_> {
    fn reason_of(failed: Option<&Self>, form: ApprovalForm) -> String {
        let failed = failed.filter(|failed| failed.form == form);
        failed.map_or("", |failed| failed.reason).to_owned()
    }
}

impl<S: Source> Desk<'_, S> {
    fn approval_path(&self, id: &str, act: &str) -> String {
        let tenant = self.query.given("tenant");
        path_with(&format!("{}{act}", own_path(id)), &[("tenant", tenant)])
    }

    /// The page of one approval.
    pub(super) async fn approval(&self, id: &str, failed: Option<Failed<'_>>) -> Answered {
        let tenant = self.tenant();
        let found = self.admin.show_approval(self.operator(), &tenant, id);
        let view = found.await?;
        self.write_approval(view, failed).await
    }

    /// Writes the page of one approval.
    pub(crate) async fn write_approval(&self, view: View, failed: Option<Failed<'_>>) -> Answered {
        // Megabytes each: a few at a time, on a thread of their own, so that a kill does not wait behind a page.
        let _turn = self.tools.rendering.acquire().await;
        let frame = self.frame(Some(Nav::Approvals)).await;
        let template = self.approval_page(frame, view, failed.as_ref());
        let status = failed.map_or(StatusCode::OK, |failed| failed.refused.status());
        let written = tokio::task::spawn_blocking(move || page(status, &template()));
        written.await.map_err(|_bug| Refused::Unavailable)
    }

    /// The function that writes the page, which may take a while.
    fn approval_page(
        &self,
        frame: Frame,
        view: View,
        failed: Option<&Failed<'_>>,
    ) -> impl FnOnce() -> ApprovalPage + Send + 'static {
        let now = self.now;
        let back = path_with(
            "/console/approvals",
            &[("tenant", self.query.given("tenant"))],
        );
        let reason = |form| Failed::reason_of(failed, form);
        let decide = self.decide_form(&view, reason(ApprovalForm::Decision));
        let revoke = self.revoke_form(&view, reason(ApprovalForm::Revocation));
        let is_pending = view.state == ApprovalState::Pending.as_str();
        let undecidable =
            "You see this approval but do not decide: your roles do not include that.";
        let undecidable =
            (is_pending && decide.is_none() && view.call.is_some()).then_some(undecidable);
        let problem = failed.map(|failed| Problem::of(&failed.refused));
        move || {
            let call = view.call.as_ref();
            let subject = call.map_or(&*view.id, |call| {
                call.subject.as_deref().unwrap_or(&call.method)
            });
            let tree = |json: &Option<Box<str>>| json.as_deref().map(Tree::of);
            ApprovalPage {
                frame,
                back,
                heading: Hostile::title(subject),
                subject: Hostile::brief(subject),
                server: Hostile::brief(call.map_or("", |call| &call.server)),
                state: view.state,
                state_text: if is_pending { "waiting" } else { view.state },
                is_high: call.is_some_and(|call| call.requirement.risk == Risk::High),
                is_pending,
                left: left(&view.expires_at, now),
                until: moment(&view.expires_at),
                problem,
                is_sealed: call.is_none(),
                reasons: call.map(reasons).unwrap_or_default(),
                arguments: call
                    .and_then(|call| tree(&call.arguments))
                    .unwrap_or_else(Tree::none),
                sent: call.and_then(|call| tree(&call.sent)),
                others: call.and_then(|call| tree(&call.others)),
                facts: facts(&view),
                identifiers: identifiers(&view),
                duties: call
                    .map(|call| duties(&call.requirement))
                    .unwrap_or_default(),
                decisions: view.decisions.iter().map(|it| decision(it, now)).collect(),
                decide,
                undecidable,
                revoke,
            }
        }
    }

    fn decide_form(&self, view: &View, reason: String) -> Option<DecideForm> {
        let (call, shown) = (view.call.as_ref()?, view.shown.as_ref()?);
        let is_pending = view.state == ApprovalState::Pending.as_str();
        if !is_pending || !self.may(Permission::Approve) {
            return None;
        }
        let path = format!("{}/decision", own_path(&view.id));
        let (approve, covers) = covers(&call.requirement);
        Some(DecideForm {
            token: self.visitor.form_token(&path),
            action: self.approval_path(&view.id, "/decision"),
            digest: shown.chars().take(SHORT).collect(),
            shown: shown.clone(),
            reason,
            covers,
            approve,
        })
    }

    fn revoke_form(&self, view: &View, reason: String) -> Option<RevokeForm> {
        if !self.may(Permission::Revoke) {
            return None;
        }
        let is_pending = view.state == ApprovalState::Pending.as_str();
        let (name, covers) = if view.state == ApprovalState::Approved.as_str() {
            (
                "Take the approval back",
                "Uses that are left are void. What ran already is not undone.",
            )
        } else if is_pending && !self.may(Permission::Approve) {
            (
                "Cancel the request",
                "The call does not run, and may be asked for again.",
            )
        } else {
            return None;
        };
        let path = format!("{}/revocation", own_path(&view.id));
        Some(RevokeForm {
            token: self.visitor.form_token(&path),
            action: self.approval_path(&view.id, "/revocation"),
            reason,
            covers,
            name,
        })
    }

    /// A decision, over what the page has shown.
    pub(super) async fn decide(&self, id: &str, form: &Form) -> Answered {
        let verdict = match form.text("verdict") {
            "approve" => Verdict::Approve,
            "deny" => Verdict::Deny,
            other => return Err(Refused::Request(format!("not a verdict: `{other}`"))),
        };
        let reason = one_line(form.text("reason"));
        let decision = Decision::new(verdict, &reason, form.text("shown"));
        let which = (&self.tenant(), id);
        let deciding = self.admin.decide(self.operator(), which, &decision);
        let decided = self.try_act(deciding).await;
        self.acted(id, decided, ApprovalForm::Decision, &reason)
            .await
    }

    /// The end of an approval.
    pub(super) async fn revoke(&self, id: &str, form: &Form) -> Answered {
        let reason = one_line(form.text("reason"));
        let which = (&self.tenant(), id);
        let revocation = Revocation::new(&reason);
        let revoking = self.admin.revoke(self.operator(), which, &revocation);
        let revoked = self.try_act(revoking).await;
        self.acted(id, revoked, ApprovalForm::Revocation, &reason)
            .await
    }

    async fn acted(
        &self,
        id: &str,
        acted: Result<View, Refused>,
        form: ApprovalForm,
        reason: &str,
    ) -> Result<Response<Bytes>, Refused> {
        let refused = match acted {
            Ok(_view) => return Ok(see(&self.approval_path(id, ""))),
            Err(refused) => refused,
        };
        let failed = Failed {
            refused: refused.clone(),
            form,
            reason,
        };
        // Where the page cannot be shown, the reason of the act is what matters, not that of the page.
        let shown = self.approval(id, Some(failed)).await;
        shown.map_err(|_page| refused)
    }
}

/// Path of an approval, without its tenant.
pub(super) fn own_path(id: &str) -> String {
    let mut path = "/console/approvals/".to_owned();
    keepgate_approval::push_encoded(&mut path, id);
    path
}

/// A reason as one line, whatever keys a phone has.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// The button of a yes and the sentence next to it: exactly what the yes is for.
fn covers(requirement: &Requirement) -> (String, String) {
    let (button, runs) = match requirement.uses {
        1 => ("Approve once".to_owned(), "run once".to_owned()),
        uses => (
            format!("Approve for {uses} uses"),
            format!("run {uses} times"),
        ),
    };
    let mut button = button;
    let mut within = format!("within {}", length(requirement.valid_for_s));
    if let Some(window) = &requirement.window {
        let time =
            |seconds: u64| keepgate_store::kill::text(UNIX_EPOCH + Duration::from_secs(seconds));
        let (from, until) = (time(window.not_before_s), time(window.until_s));
        button = format!("{button}, in its window");
        within = match window.not_before_s {
            0 => format!("until {until} at the latest"),
            1.. => format!("not before {from}, and until {until} at the latest"),
        };
    }
    if requirement.is_session_bound {
        button = "Approve for this session".to_owned();
        within = format!("in this session alone, {within}");
    }
    let others = "With other arguments it asks again.";
    let is_one_of_several =
        requirement.duties.len() > 1 || requirement.duties.iter().any(|it| it.quorum > 1);
    if is_one_of_several {
        let covers = format!(
            "Yours is one of several approvals. Once all that are needed are there, this very call may {runs}, {within} of the last one. {others}"
        );
        return ("Add my approval".to_owned(), covers);
    }
    let covers = format!("A yes lets this very call {runs}, {within}. {others}");
    (button, covers)
}

fn reasons(call: &FrozenCall) -> Vec<ReasonLine> {
    let line = |(code, message): &(Arc<str>, Arc<str>)| ReasonLine {
        code: Hostile::brief(code),
        message: Hostile::whole(message),
    };
    call.requirement.reasons.iter().map(line).collect()
}

fn duties(requirement: &Requirement) -> Vec<DutyLine> {
    let has_steps = requirement.duties.iter().any(|duty| duty.step > 1);
    let line = |duty: &keepgate_approval::Duty| DutyLine {
        text: match (duty.approvers.len(), duty.quorum.max(1)) {
            (0, 1) => "Needs one approval, of any operator who may approve".to_owned(),
            (0, count) => {
                format!("Needs approvals of {count} different operators who may approve")
            }
            (1, 1) => "Needs one approval, of".to_owned(),
            (_, 1) => "Needs one approval, of any of".to_owned(),
            (_, count) => format!("Needs approvals of {count} different people, of"),
        },
        step: has_steps.then_some(duty.step),
        approvers: duty.approvers.iter().map(|it| Hostile::brief(it)).collect(),
    };
    requirement.duties.iter().map(line).collect()
}

fn decision(decision: &DecisionView, now: std::time::SystemTime) -> DecisionLine {
    DecisionLine {
        operator: Hostile::brief(&decision.operator),
        verdict: decision.verdict,
        act: match decision.verdict {
            "approve" => "approved",
            _ => "denied",
        },
        at: moment(&decision.at),
        ago: ago(&decision.at, now),
        reason: Hostile::whole(&decision.reason),
    }
}

/// Everything else a person decides over: who asks, where it goes, and with which credentials.
fn facts(view: &View) -> Vec<FactLine> {
    let mut facts = Vec::new();
    let mut add = |name: &'static str, value: Option<&str>| {
        if let Some(value) = value {
            let value = Hostile::whole(value);
            facts.push(FactLine { name, value });
        }
    };
    add("Tenant", Some(&view.tenant));
    if let Some(call) = &view.call {
        let caller = &call.caller;
        add("Caller", Some(&caller.subject));
        add("Kind", Some(&caller.kind));
        add("Issuer", caller.issuer.as_deref());
        add("OAuth client", caller.client.as_deref());
        add("Sign-in", caller.grant.as_deref());
        add("API key", caller.key.as_deref());
        add("Key owner", caller.owner.as_deref());
        // A line each: joined, one value could look like two.
        let client = call.client.as_ref();
        add("Client (claimed)", client.map(|(name, _)| &**name));
        add("Its version", client.map(|(_, version)| &**version));
        add("Server", Some(&call.server));
        let destination = &call.destination;
        let address = Some(&*destination.address).filter(|it| !it.is_empty());
        add("Sent to", address);
        for variable in &destination.environment {
            add("Variable", Some(variable));
        }
        add("Method", Some(&call.method));
        add("Subject", call.subject.as_deref());
        for credential in &call.credentials {
            add("Credential", Some(credential));
        }
    }
    let uses = view.uses_left.to_string();
    add("Uses left", view.usable_until.as_ref().map(|_| &*uses));
    facts
}

/// Digests, ids and times, by which logs and other pages know it.
fn identifiers(view: &View) -> Vec<FactLine> {
    let mut facts = Vec::new();
    let mut add = |name: &'static str, value: Option<&str>| {
        if let Some(value) = value {
            let value = Hostile::whole(value);
            facts.push(FactLine { name, value });
        }
    };
    if let Some(call) = &view.call {
        let digest = Some(&*call.destination.digest).filter(|it| !it.is_empty());
        add("Destination", digest);
        add("Session", call.session.as_deref());
        add("Tool definition", call.fingerprint.as_deref());
        add("Policy", Some(&call.requirement.policy));
        for target in &call.requirement.notify {
            add("Notifies", Some(target));
        }
        add("Decision id", Some(&call.decision_id));
    }
    add("Approval", Some(&view.id));
    add("Requested", Some(&view.created_at));
    add("Waits until", Some(&view.expires_at));
    add("Decided", view.decided_at.as_deref());
    add("Usable from", view.usable_from.as_deref());
    add("Usable until", view.usable_until.as_deref());
    facts
}
