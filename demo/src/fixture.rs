//! A test server with one of everything, on rmcp, in the stateful revisions and in 2026-07-28.
//!
//! | part | what it shows |
//! |---|---|
//! | `echo`, `add` | plain and structured results |
//! | `slow`, `cancelled_count` | progress, cancellation, and whether a cancellation arrived |
//! | `sample`, `elicit`, `elicit_url`, `roots` | asking the client: a request in a session, `input_required` without |
//! | `log` | log notifications at or above the level the client set |
//! | `change_list`, `touch` | `list_changed` and `resources/updated` on the GET stream, or on `subscriptions/listen` |
//! | resources, templates, prompts, completion | fixed and small, with pages of two in the resource list |

#![expect(
    deprecated,
    reason = "logging and legacy subscriptions are what this server is there to show"
)]

mod ask;
mod catalog;
mod feed;
mod tools;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
    GetPromptRequestParams, GetPromptResponse, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, LoggingLevel,
    PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};

use feed::Feed;

/// What all sessions of one fixture share.
#[derive(Debug, Default)]
struct Shared {
    /// Calls of `slow` that were cut off before they were done.
    cancelled: AtomicU64,
    feed: Feed,
}

/// One session's (or one stateless request's) view of the fixture.
#[derive(Debug, Default)]
pub struct Fixture {
    shared: Arc<Shared>,
    subscribed: Arc<feed::Subscribed>,
    level: Arc<tools::Level>,
    opening: feed::Opening,
}

impl Fixture {
    /// A fixture nobody has called yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A fresh session on the same fixture: counters and changes are shared, subscriptions and
    /// the log level are not.
    #[must_use]
    pub fn session(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            ..Self::default()
        }
    }
}

/// Whether the request came in a revision without sessions.
fn stateless(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version >= ProtocolVersion::NO_INITIALIZE)
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_completions()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new(
                "rmcp-fixture",
                env!("CARGO_PKG_VERSION"),
            ))
            .with_instructions("One of everything, for tests.")
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.shared
            .feed
            .pump(Arc::clone(&self.subscribed), context.peer);
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.level.set(request.level);
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.as_ref();
        match request.name.as_ref() {
            "echo" => tools::echo(arguments),
            "add" => tools::add(arguments),
            "slow" => tools::slow(arguments, &self.shared.cancelled, &context).await,
            "cancelled_count" => Ok(tools::cancelled_count(&self.shared.cancelled)),
            "log" => tools::log(&self.level, &context).await,
            "change_list" => Ok(self.shared.feed.change_tools()),
            "touch" => self.shared.feed.touch(arguments),
            "sample" => ask::sample(&request, &context).await,
            "elicit" => ask::form(&request, &context).await,
            "elicit_url" => ask::url(&request, &context).await,
            "roots" => ask::roots(&request, &context).await,
            other => Err(crate::reply::unknown_tool(other)),
        }
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        catalog::resources(page.and_then(|page| page.cursor).as_deref())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(catalog::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        catalog::read(&request.uri)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscribed.insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscribed.remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.opening.push(self.shared.feed.ear());
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let ear = self.opening.pop().unwrap_or_else(|| self.shared.feed.ear());
        feed::listen(ear, &context).await;
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(catalog::prompts())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        catalog::prompt(&request)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        catalog::complete(&request)
    }
}

/// Severity as a number, least first (RFC 5424 backwards).
fn severity(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}
