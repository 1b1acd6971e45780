//! The demo's agent: a real SDK client that does a support worker's morning and says how it went.
//!
//! It knows what should happen at each step, so it is also a test: through the gate some steps
//! must be refused, straight to the servers all of them must work.

mod answer;
mod morning;

use std::io;
use std::sync::{Mutex, PoisonError};

use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, ProgressNotificationParam};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::{ClientHandler, RoleClient};

use crate::connect::{self, ConnectError, Era, Target};
use crate::console::{Console, Mark};
use answer::Answer;

/// Where the agent finds its two servers, and what is in between.
#[derive(Clone, Debug)]
pub struct Place {
    /// The support desk.
    pub crm: Target,
    /// The notebook.
    pub notes: Target,
    /// Whether Keepgate, with the demo's policy, is in between.
    pub gated: bool,
}

/// Why the agent could not go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// One of the servers could not be reached.
    #[error("the agent cannot reach `{server}`")]
    Connect {
        /// Which one.
        server: &'static str,
        /// Why.
        source: ConnectError,
    },
    /// Closing a connection failed.
    #[error("the agent lost a connection while closing it")]
    Close(#[source] tokio::task::JoinError),
    /// Standard output is gone.
    #[error("failed to write the story")]
    Output(#[from] io::Error),
}

/// What should come of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// It works.
    Works,
    /// The gate refuses it by this rule. Without a gate it works.
    Denied(&'static str),
    /// The gate answers as if there were no such thing. Without a gate it works.
    Hidden,
    /// It works, and the gate takes this out of what comes back. Without a gate it is there.
    Redacted(&'static str),
    /// The gate says that this limit is met.
    Limited(&'static str),
}

/// Remembers the progress it was told, as text.
#[derive(Debug, Default)]
struct Ears(Mutex<Vec<String>>);

impl Ears {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The handler of one connection.
#[derive(Debug)]
struct Agent {
    era: Era,
    ears: Ears,
}

impl ClientHandler for Agent {
    fn get_info(&self) -> ClientConfig {
        let name = Implementation::new("support-agent", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), name)
            .with_protocol_version(self.era.revision())
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let total = params.total.unwrap_or_default();
        let told = format!("{}/{total}", params.progress);
        self.ears
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
    }
}

/// One connection and what was noted on it.
struct Desk<'a> {
    client: RunningService<RoleClient, Agent>,
    console: &'a Console,
    gated: bool,
    surprises: usize,
}

impl Desk<'_> {
    /// Prints a step's line and counts it if it is a surprise.
    fn note(&mut self, what: &str, answer: &Answer, expected: Expected) -> io::Result<()> {
        let expected = if self.gated {
            expected
        } else {
            Expected::Works
        };
        let mark = match (answer.matches(expected), answer) {
            (false, _) => Mark::Wrong,
            (true, Answer::Good(_)) => Mark::Through,
            (true, Answer::Refused(_) | Answer::Failed(_)) => Mark::Refused,
        };
        self.console.line(mark, what, &answer.words())?;
        if let Some(remark) = answer.remark() {
            self.console.remark(&remark)?;
        }
        if mark == Mark::Wrong {
            self.surprises += 1;
            self.console.remark(&format!("expected: {expected:?}"))?;
        }
        Ok(())
    }

    /// Prints which names the agent sees, and counts it if they are not `wanted`.
    fn sees(&mut self, kind: &str, seen: &[String], wanted: &[&str]) -> io::Result<()> {
        let good = seen == wanted;
        let mark = if good { Mark::Fact } else { Mark::Wrong };
        self.console
            .line(mark, &format!("{kind} it sees"), &seen.join(" "))?;
        if !good {
            self.surprises += 1;
            self.console
                .remark(&format!("expected: {}", wanted.join(" ")))?;
        }
        Ok(())
    }

    async fn close(self) -> Result<usize, AgentError> {
        self.client.cancel().await.map_err(AgentError::Close)?;
        Ok(self.surprises)
    }
}

/// Works through the morning in `era` and gives the number of steps that were not as expected.
///
/// # Errors
///
/// See [`AgentError`]; a refused or failed step is not an error.
pub async fn work(place: &Place, era: Era, console: &Console) -> Result<usize, AgentError> {
    let way = match era {
        Era::Stateful => "with a session",
        Era::Stateless => "without a session",
    };
    console.heading(&format!("The agent works {way} ({})", era.revision()))?;
    let crm = open("crm", &place.crm, place.gated, era, console).await?;
    let surprises = morning::at_the_desk(crm).await?;
    let notes = open("notes", &place.notes, place.gated, era, console).await?;
    Ok(surprises + morning::with_the_notebook(notes).await?)
}

/// Works far too fast, until the gate says stop; gives the number of steps that were not as expected. Without a gate nobody
/// says stop, so there is nothing to see.
///
/// # Errors
///
/// See [`AgentError`].
pub async fn hurry(place: &Place, console: &Console) -> Result<usize, AgentError> {
    if !place.gated {
        return Ok(0);
    }
    console.heading("The agent runs in circles")?;
    let crm = open("crm", &place.crm, true, Era::Stateless, console).await?;
    morning::in_circles(crm).await
}

async fn open<'a>(
    server: &'static str,
    target: &Target,
    gated: bool,
    era: Era,
    console: &'a Console,
) -> Result<Desk<'a>, AgentError> {
    let agent = Agent {
        era,
        ears: Ears::default(),
    };
    let client = connect::connect(agent, target, era, era.revision())
        .await
        .map_err(|source| AgentError::Connect { server, source })?;
    console.print(&format!("  {server}"))?;
    Ok(Desk {
        client,
        console,
        gated,
        surprises: 0,
    })
}
