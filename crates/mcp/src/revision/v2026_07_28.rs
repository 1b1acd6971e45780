//! 2026-07-28: stateless; every request carries its version and capabilities.

use super::{Era, Facts};
use crate::Method;

pub(super) static FACTS: Facts = Facts {
    name: "2026-07-28",
    era: Era::Stateless,
    handshake: false,
    sessions: false,
    batches: false,
    version_header: true,
    mirrored_headers: true,
    get_stream: false,
    delete: false,
    resume: false,
    disconnect_cancels: true,
    server_requests: false,
    clients_may_respond: false,
    caching_hints: true,
    url_elicitation_error: false,
    to_server: &[
        Method::ServerDiscover,
        Method::ToolsList,
        Method::ToolsCall,
        Method::PromptsList,
        Method::PromptsGet,
        Method::ResourcesList,
        Method::ResourcesTemplatesList,
        Method::ResourcesRead,
        Method::CompletionComplete,
        Method::SubscriptionsListen,
        Method::TasksGet,
        Method::TasksUpdate,
        Method::TasksCancel,
        Method::Cancelled,
    ],
    to_client: &[
        Method::Cancelled,
        Method::Progress,
        Method::LogMessage,
        Method::ToolsChanged,
        Method::PromptsChanged,
        Method::ResourcesChanged,
        Method::ResourceUpdated,
        Method::TaskUpdated,
        Method::SubscriptionsAcknowledged,
    ],
};
