//! What a request is about.

use std::borrow::Cow;

use super::Request;
use crate::json::Raw;
use crate::method::{ListKind, Method, Reference, Subject};

impl Request {
    /// What the request is about, from its body alone. [`Subject::Missing`] and [`Subject::Unknown`] must not be forwarded.
    pub fn subject(&self) -> Subject<'_> {
        match self.method() {
            Method::ToolsCall => self.named("name", Subject::Tool),
            Method::PromptsGet => self.named("name", Subject::Prompt),
            Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                self.named("uri", Subject::Resource)
            }
            Method::TasksGet | Method::TasksResult | Method::TasksCancel | Method::TasksUpdate => {
                self.named("taskId", Subject::Task)
            }
            Method::CompletionComplete => self.completion().unwrap_or(Subject::Missing),
            Method::ToolsList => Subject::Listing(ListKind::Tools),
            Method::PromptsList => Subject::Listing(ListKind::Prompts),
            Method::ResourcesList => Subject::Listing(ListKind::Resources),
            Method::ResourcesTemplatesList => Subject::Listing(ListKind::ResourceTemplates),
            Method::TasksList => Subject::Listing(ListKind::Tasks),
            Method::RootsList => Subject::Listing(ListKind::Roots),
            Method::SubscriptionsListen => Subject::Subscription,
            Method::Initialize
            | Method::Ping
            | Method::LoggingSetLevel
            | Method::ServerDiscover => Subject::Session,
            Method::SamplingCreateMessage | Method::ElicitationCreate => Subject::Client,
            Method::Initialized
            | Method::Cancelled
            | Method::Progress
            | Method::LogMessage
            | Method::ToolsChanged
            | Method::PromptsChanged
            | Method::ResourcesChanged
            | Method::ResourceUpdated
            | Method::RootsChanged
            | Method::ElicitationCompleted
            | Method::TaskStatus
            | Method::TaskUpdated
            | Method::SubscriptionsAcknowledged
            | Method::Other(_) => Subject::Unknown,
        }
    }

    fn named<'a>(
        &'a self,
        key: &str,
        subject: impl FnOnce(Cow<'a, str>) -> Subject<'a>,
    ) -> Subject<'a> {
        self.param(key)
            .and_then(Raw::string)
            .map_or(Subject::Missing, subject)
    }

    fn completion(&self) -> Option<Subject<'_>> {
        let reference = self.param("ref")?;
        let kind = reference.member("type")?.string()?;
        let reference = match &*kind {
            "ref/prompt" => Reference::Prompt(reference.member("name")?.string()?),
            "ref/resource" => Reference::Resource(reference.member("uri")?.string()?),
            _ => return None,
        };
        let argument = self.param("argument")?.member("name")?.string()?;
        Some(Subject::Completion {
            reference,
            argument,
        })
    }
}
