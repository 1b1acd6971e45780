//! The methods of MCP, which way they travel, and what a request is about.

use std::borrow::Cow;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $way:ident;)*) => {
        /// A method of MCP, of any revision we speak, or one we do not know.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
            /// A method no revision we speak defines.
            Other(Box<str>),
        }

        impl Method {
            /// Every method with a name of its own.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),*];

            /// The method of that name. Names are case-sensitive; one we do not know becomes [`Method::Other`].
            pub fn parse(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }

            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }

            /// The name on the wire, if a revision we speak defines the method.
            pub fn known(&self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($name),)*
                    Self::Other(_) => None,
                }
            }

            fn way(&self) -> Way {
                match self {
                    $(Self::$variant => Way::$way,)*
                    Self::Other(_) => Way::Nowhere,
                }
            }
        }
    };
}

/// Who may send a method in any revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
    Both,
    Nowhere,
}

methods! {
    /// Opens a stateful session.
    Initialize = "initialize", Up;
    /// Asks whether the peer is alive.
    Ping = "ping", Both;
    /// Lists tools.
    ToolsList = "tools/list", Up;
    /// Calls a tool.
    ToolsCall = "tools/call", Up;
    /// Lists prompts.
    PromptsList = "prompts/list", Up;
    /// Fetches a prompt.
    PromptsGet = "prompts/get", Up;
    /// Lists resources.
    ResourcesList = "resources/list", Up;
    /// Lists resource templates.
    ResourcesTemplatesList = "resources/templates/list", Up;
    /// Reads a resource.
    ResourcesRead = "resources/read", Up;
    /// Subscribes to changes of a resource (stateful revisions).
    ResourcesSubscribe = "resources/subscribe", Up;
    /// Ends such a subscription.
    ResourcesUnsubscribe = "resources/unsubscribe", Up;
    /// Asks for values of an argument.
    CompletionComplete = "completion/complete", Up;
    /// Sets the level of log messages (stateful revisions).
    LoggingSetLevel = "logging/setLevel", Up;
    /// Asks what the server is and can do (2026-07-28).
    ServerDiscover = "server/discover", Up;
    /// Opens a stream of changes (2026-07-28).
    SubscriptionsListen = "subscriptions/listen", Up;
    /// Fetches the state of a task.
    TasksGet = "tasks/get", Both;
    /// Waits for the result of a task (2025-11-25).
    TasksResult = "tasks/result", Both;
    /// Cancels a task.
    TasksCancel = "tasks/cancel", Both;
    /// Lists tasks (2025-11-25).
    TasksList = "tasks/list", Both;
    /// Gives a task the input it asked for (tasks extension).
    TasksUpdate = "tasks/update", Up;
    /// Asks the client's model for a message.
    SamplingCreateMessage = "sampling/createMessage", Down;
    /// Asks the client's user for input.
    ElicitationCreate = "elicitation/create", Down;
    /// Asks the client for its roots.
    RootsList = "roots/list", Down;
    /// The client is ready (stateful revisions).
    Initialized = "notifications/initialized", Up;
    /// A request is no longer wanted.
    Cancelled = "notifications/cancelled", Both;
    /// Progress of a request.
    Progress = "notifications/progress", Both;
    /// A log message.
    LogMessage = "notifications/message", Down;
    /// The list of tools changed.
    ToolsChanged = "notifications/tools/list_changed", Down;
    /// The list of prompts changed.
    PromptsChanged = "notifications/prompts/list_changed", Down;
    /// The list of resources changed.
    ResourcesChanged = "notifications/resources/list_changed", Down;
    /// A subscribed resource changed.
    ResourceUpdated = "notifications/resources/updated", Down;
    /// The client's roots changed.
    RootsChanged = "notifications/roots/list_changed", Up;
    /// A URL elicitation was completed (2025-11-25).
    ElicitationCompleted = "notifications/elicitation/complete", Down;
    /// The state of a task changed (2025-11-25).
    TaskStatus = "notifications/tasks/status", Both;
    /// The state of a task changed (tasks extension).
    TaskUpdated = "notifications/tasks", Down;
    /// What a subscription will deliver (2026-07-28).
    SubscriptionsAcknowledged = "notifications/subscriptions/acknowledged", Down;
}

/// Which way a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Method {
    /// Whether the method is a notification by its name. An unknown method counts as one when it is spelled like one.
    pub fn is_notification(&self) -> bool {
        self.as_str().starts_with("notifications/")
    }

    /// Whether any revision lets the method travel that way. Unknown methods travel nowhere.
    pub fn travels(&self, direction: Direction) -> bool {
        match self.way() {
            Way::Both => true,
            Way::Up => direction == Direction::ToServer,
            Way::Down => direction == Direction::ToClient,
            Way::Nowhere => false,
        }
    }
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    ResourceTemplates,
    /// `tasks/list`.
    Tasks,
    /// `roots/list`.
    Roots,
}

/// What a completion is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `ref/prompt`: the prompt's name.
    Prompt(Cow<'a, str>),
    /// `ref/resource`: a URI or URI template.
    Resource(Cow<'a, str>),
}

/// What a request is about, as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A tool, by name.
    Tool(Cow<'a, str>),
    /// A prompt, by name.
    Prompt(Cow<'a, str>),
    /// A resource, by URI as written; see [`crate::uri::normalise`].
    Resource(Cow<'a, str>),
    /// Values for an argument of a prompt or of a resource template.
    Completion {
        /// Whose argument.
        reference: Reference<'a>,
        /// The argument's name.
        argument: Cow<'a, str>,
    },
    /// A list.
    Listing(ListKind),
    /// A task, by id.
    Task(Cow<'a, str>),
    /// A subscription to changes; its filter is in `params.notifications`.
    Subscription,
    /// The session or the server itself: initialize, ping, discover, log level.
    Session,
    /// A request of the server to the client: sampling, elicitation.
    Client,
    /// The method needs a name, URI, reference or id and `params` has none, or not as a string. Never forward.
    Missing,
    /// A method we do not know.
    Unknown,
}
