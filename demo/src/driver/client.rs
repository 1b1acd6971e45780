//! The driver's side of what a server may ask or tell.

#![expect(
    deprecated,
    reason = "sampling, roots and logging are part of what is driven"
)]

use std::sync::{Mutex, PoisonError};

use rmcp::model::{
    ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability,
    FormElicitationCapability, Implementation, ListRootsResult, LoggingMessageNotificationParam,
    ProgressNotificationParam, ProtocolVersion, ResourceUpdatedNotificationParam, Root,
    SamplingMessage, UrlElicitationCapability,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ClientHandler, ErrorData, RoleClient};
use tokio::sync::Notify;

/// Something the server told without being asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Progress(ProgressNotificationParam),
    Logged(LoggingMessageNotificationParam),
    Updated(String),
    ToolsChanged,
}

/// Answers everything, and remembers what it was told.
#[derive(Debug)]
pub(super) struct Asked {
    revision: ProtocolVersion,
    told: Mutex<Vec<Told>>,
    more: Notify,
}

impl Asked {
    pub(super) fn new(revision: ProtocolVersion) -> Self {
        Self {
            revision,
            told: Mutex::default(),
            more: Notify::new(),
        }
    }

    fn hear(&self, told: Told) {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        self.more.notify_waiters();
    }

    /// What was told so far and `wanted`.
    pub(super) fn heard<T>(&self, wanted: impl Fn(&Told) -> Option<T>) -> Vec<T> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter_map(wanted).collect()
    }

    /// Waits until at least `count` `wanted` things were told; forever if they never are.
    pub(super) async fn hear_at_least<T>(
        &self,
        count: usize,
        wanted: impl Fn(&Told) -> Option<T>,
    ) -> Vec<T> {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            // Enabled before looking, so that nothing told in between is missed.
            more.as_mut().enable();
            let heard = self.heard(&wanted);
            if heard.len() >= count {
                return heard;
            }
            more.await;
        }
    }
}

impl ClientHandler for Asked {
    fn get_info(&self) -> ClientConfig {
        let elicitation = ElicitationCapability::new()
            .with_form(FormElicitationCapability::default())
            .with_url(UrlElicitationCapability::default());
        let capabilities = ClientCapabilities::builder()
            .enable_roots()
            .enable_sampling()
            .enable_elicitation_with(elicitation)
            .build();
        let name = Implementation::new("rmcp-driver", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(capabilities, name).with_protocol_version(self.revision.clone())
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let said = SamplingMessage::assistant_text("Paris");
        Ok(CreateMessageResult::new(said, "driver-model".to_owned())
            .with_stop_reason(CreateMessageResult::STOP_REASON_END_TURN))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let accepted = ElicitResult::new(ElicitationAction::Accept);
        Ok(match request {
            ElicitRequestParams::FormElicitationParams { .. } => {
                accepted.with_content(serde_json::json!({ "name": "Ferris" }))
            }
            ElicitRequestParams::UrlElicitationParams { url, .. }
                if url == "https://fixture.example/confirm/1" =>
            {
                accepted
            }
            ElicitRequestParams::UrlElicitationParams { .. } | _ => {
                ElicitResult::new(ElicitationAction::Decline)
            }
        })
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        Ok(ListRootsResult::new(vec![Root::new("file:///srv/demo")]))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear(Told::Progress(params));
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear(Told::Logged(params));
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear(Told::Updated(params.uri));
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.hear(Told::ToolsChanged);
    }
}
