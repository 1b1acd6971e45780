//! Servers that are child processes.
//!
//! A session has a process of its own; a caller without sessions has one for all its calls; a server that the
//! configuration calls shared has one for everybody.
//!
//! Credentials are in the environment a process is started with. When one changes, calls without sessions get a fresh
//! process, and so do new sessions; a session of before is over, since its process was the session. The old process ends
//! with the last call on it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    hash::{BuildHasher, RandomState},
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use keepgate_call::{Answer, Ask, Code, Principal, Refusal, Reply, ServerName};
use keepgate_credential::{Live, Tails};
use keepgate_mcp::message::{Message, Request, Response};
use keepgate_transport::{
    Clearance,
    duplex::{CallMode, Connection, Dispatch, Envelope, Owner, Reserve, Sharing},
    stdio::{ChildSettings, Launcher, Redact, Restart, Supervisor},
};
use tokio_util::task::TaskTracker;

use super::{
    Link,
    duplex::{self, Attached, Terms},
};
use crate::{
    flight::Flight,
    layers::{
        credential::Credential,
        session::{Binding, Bound},
    },
    processes::{ProcessOrigin, Processes},
    settings::{Limits, ProcessLimits, Server, Upstream},
    shared::Shared as Parts,
};

/// Delay after which a caller should try again when every process is in use.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// The processes of one server.
#[derive(Debug)]
pub struct Children {
    origin: ProcessOrigin,
    /// Numbers the clients of a process; the key is random, so that nobody makes up another's number.
    owners: RandomState,
    settings: ChildSettings,
    processes: Arc<Processes>,
    places: ProcessLimits,
    rest: Option<Duration>,
    terms: Terms,
    most: usize,
    shared: Option<ArcSwap<Shared>>,
    callers: Mutex<HashMap<Principal, Own>>,
    tasks: TaskTracker,
}

/// The process of a caller without sessions.
#[derive(Debug)]
struct Own {
    supervisor: Arc<Supervisor>,
    used: Instant,
    /// Of the credential it was started with.
    generation: u64,
}

/// The processes everybody shares: one for each era, since a process that has shaken hands is in a session.
#[derive(Debug)]
struct Shared {
    /// Of the credential they were started with.
    generation: u64,
    stateful: Supervisor,
    stateless: Supervisor,
    /// The answer to the one `initialize` the process has seen.
    greeted: Mutex<Option<(Arc<Connection>, Response)>>,
    greeting: Flight<Refusal>,
}

impl Shared {
    fn greeted(&self) -> MutexGuard<'_, Option<(Arc<Connection>, Response)>> {
        // Plain data that each holder leaves whole.
        self.greeted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new(settings: &ChildSettings, reserve: &Reserve, generation: u64) -> Self {
        let supervisor = || {
            Supervisor::new(settings.clone(), Sharing::Shared, Restart::default())
                .reserving(Arc::clone(reserve))
        };
        Self {
            generation,
            stateful: supervisor(),
            stateless: supervisor(),
            greeted: Mutex::default(),
            greeting: Flight::default(),
        }
    }
}

/// Which of its secrets a server has now; zero for one that needs none.
fn generation(credential: Option<&Credential>) -> u64 {
    credential.map_or(0, |credential| credential.held.generation())
}

impl Children {
    pub(super) fn new(
        origin: ProcessOrigin,
        server: &Server,
        limits: &Limits,
        parts: &Parts,
    ) -> Self {
        let name = &origin.server;
        let (mut settings, is_shared) = child_settings(name, server, limits);
        settings.redact = Some(redact(parts.credentials.live()));
        let reserve = parts.processes.reserve(limits.processes, &origin, None);
        let shared = is_shared.then(|| ArcSwap::from_pointee(Shared::new(&settings, &reserve, 0)));
        Self {
            origin,
            owners: RandomState::new(),
            processes: Arc::clone(&parts.processes),
            places: limits.processes,
            rest: server.idle,
            terms: Terms::new(server, None),
            most: limits.sessions.get(),
            shared,
            callers: Mutex::default(),
            tasks: parts.tasks.clone(),
            settings,
        }
    }

    /// Forgets the processes of the callers without sessions that `covers` holds for.
    pub(super) fn forget_callers(&self, covers: impl Fn(&Principal) -> bool) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.retain(|principal, _| !covers(principal));
    }

    pub(super) fn expire(&self, idle: Duration) {
        if let Some(rest) = self.rest {
            self.processes.expire(&self.origin.server, rest);
        }
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.retain(|_, own| own.used.elapsed() < idle || own.supervisor.seems_running());
    }

    /// A session's hold on a process.
    fn attached(&self, connection: Arc<Connection>, generation: u64) -> Attached {
        Attached::new(connection, &self.tasks).of_process(self.shared.is_some(), generation)
    }

    /// The client a call is of: its session, or where there is none its caller, by its sign-in.
    fn owner(&self, bound: &Bound) -> Owner {
        let session = bound.session.session().map(|session| &session.public);
        let key = bound.call.caller.session_key();
        Owner(self.owners.hash_one((key, session)))
    }

    /// Takes the place of each process of a caller before its start.
    fn reserve(&self, caller: Option<&Principal>) -> Reserve {
        self.processes.reserve(self.places, &self.origin, caller)
    }

    /// How a process is started that gets `credential`.
    fn settings(&self, credential: Option<&Credential>) -> ChildSettings {
        let mut settings = self.settings.clone();
        let Some(Credential { held, .. }) = credential else {
            return settings;
        };
        let variables = held.iter().flat_map(|held| held.material().variables());
        for (name, value) in variables {
            settings.env.retain(|(known, _)| known != name);
            let value = OsStr::from_bytes(value).to_owned();
            settings.env.push((name.to_owned(), value));
        }
        settings
    }

    /// The processes everybody shares, started with the credential of now.
    fn shared(&self, credential: Option<&Credential>) -> Option<Arc<Shared>> {
        let shared = self.shared.as_ref()?;
        let now = generation(credential);
        let current = shared.load_full();
        // A call that took its credential a moment ago does not bring the old processes back.
        if current.generation >= now {
            return Some(current);
        }
        let fresh = Shared::new(&self.settings(credential), &self.reserve(None), now);
        let fresh = Arc::new(fresh);
        let before = shared.compare_and_swap(&current, Arc::clone(&fresh));
        Some(if Arc::ptr_eq(&before, &current) {
            fresh
        } else {
            Arc::clone(&before)
        })
    }

    /// The process of a caller without sessions.
    async fn stateless(
        &self,
        bound: &Bound,
        credential: Option<&Credential>,
    ) -> Result<Arc<Connection>, Refusal> {
        if let Some(shared) = self.shared(credential) {
            return shared.stateless.connection().await.map_err(duplex::refused);
        }
        let supervisor = {
            let key = bound.call.caller.principal();
            let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
            if callers.len() >= self.most && !callers.contains_key(key) {
                return Err(Refusal::new(Code::SessionLimit).over("limits.sessions"));
            }
            let now = generation(credential);
            let fresh = || {
                let settings = self.settings(credential);
                let supervisor = Supervisor::new(settings, Sharing::Exclusive, Restart::default())
                    .reserving(self.reserve(Some(key)));
                Own {
                    supervisor: Arc::new(supervisor),
                    used: Instant::now(),
                    generation: now,
                }
            };
            let own = callers.entry(key.clone()).or_insert_with(fresh);
            if own.generation < now {
                *own = fresh();
            }
            own.used = Instant::now();
            Arc::clone(&own.supervisor)
        };
        supervisor.connection().await.map_err(duplex::refused)
    }
}

/// Masks every secret of the gateway in what a process writes to standard error. Lines are joined where they are read.
fn redact(live: &Arc<Live>) -> Redact {
    let live = Arc::clone(live);
    Arc::new(move |text| live.line(text, &mut Tails::default()))
}

/// Settings the process of a server is started with, without its credential, and whether callers share it.
pub fn child_settings(
    name: &ServerName,
    server: &Server,
    limits: &Limits,
) -> (ChildSettings, bool) {
    match &server.upstream {
        Upstream::Child {
            program,
            arguments,
            environment,
            directory,
            shared,
            launch,
        } => {
            let mut settings = ChildSettings::new(name.as_str(), program);
            settings.launcher = launch.as_ref().map(|launch| Launcher {
                program: launch.launcher.clone().into(),
                arguments: launch.rules.arguments(),
            });
            settings.args = arguments.iter().map(Into::into).collect();
            let user = launch.iter().flat_map(|launch| launch.variables.clone());
            let written = environment
                .iter()
                .map(|(key, value)| (key.clone(), value.into()));
            // Later ones win: the configuration decides.
            settings.env = user.chain(written).collect();
            settings.directory.clone_from(directory);
            settings.max_line = limits.result;
            (settings, *shared)
        }
        Upstream::Http { .. } => (ChildSettings::new(name.as_str(), ""), false),
    }
}

/// Sends a call, once.
pub(super) async fn send(
    children: Arc<Children>,
    bound: Bound,
    (credential, clearance): (Option<Credential>, Option<Arc<dyn Clearance>>),
) -> Result<Reply, Refusal> {
    let credential = credential.as_ref();
    let sender = Dispatch {
        owner: children.owner(&bound),
        envelope: Envelope {
            clearance,
            ..Envelope::default()
        },
    };
    match &bound.session {
        Binding::Stateless => {
            let connection = children.stateless(&bound, credential).await?;
            let answer = duplex::message(
                &connection,
                &bound,
                sender,
                CallMode::CancelOnDrop,
                &children.terms,
            );
            Ok(answer.await?.into())
        }
        Binding::Opening(opening) => {
            let Some(Message::Request(request)) = bound.call.message() else {
                return Err(Refusal::new(Code::Internal));
            };
            let (attached, response) = greet(&children, &bound, request, credential).await?;
            // Set once: an opening session makes one call.
            let _first = opening.link.set(Link::Duplex(attached));
            Ok(Answer::Message(Message::Response(response)).into())
        }
        Binding::Held(session) => {
            let Some(Link::Duplex(attached)) = session.link.get() else {
                return Err(Refusal::new(Code::SessionUnknown));
            };
            // A process with a credential of the past is as good as none, except to end the session.
            let past = attached.is_outdated(generation(credential));
            if past && !matches!(bound.call.ask, Ask::End) {
                return Err(Refusal::new(Code::SessionUnknown));
            }
            Ok(attached.send(&bound, sender, &children.terms).await?.into())
        }
    }
}

/// Shakes hands: with a process of the session's own, or with the shared one, which hears it once.
async fn greet(
    children: &Children,
    bound: &Bound,
    initialize: &Request,
    credential: Option<&Credential>,
) -> Result<(Attached, Response), Refusal> {
    let owner = children.owner(bound);
    let Some(shared) = children.shared(credential) else {
        let settings = children.settings(credential);
        let reserve = children.reserve(Some(bound.call.caller.principal()));
        let connection = Connection::start(settings, Sharing::Exclusive, Some(&reserve))
            .await
            .map_err(duplex::refused)?;
        let response = first(children, &connection, owner, initialize).await?;
        let attached = children.attached(Arc::new(connection), generation(credential));
        return Ok((attached, response));
    };
    let generation = shared.generation;
    let connection = shared
        .stateful
        .connection()
        .await
        .map_err(duplex::refused)?;
    let known = || {
        let greeted = shared.greeted();
        let (_, response) = greeted
            .as_ref()
            .filter(|(with, _)| Arc::ptr_eq(with, &connection))?;
        Some((true, response.with_id(initialize.id())))
    };
    let greet = async {
        let response = first(children, &connection, owner, initialize).await?;
        *shared.greeted() = Some((Arc::clone(&connection), response.clone()));
        Ok((false, response))
    };
    let (ready, response) = shared.greeting.run(known, greet).await?;
    let attached = children.attached(Arc::clone(&connection), generation);
    let attached = attached.with_ready(ready);
    Ok((attached, response))
}

/// The answer of a process to `initialize`.
async fn first(
    children: &Children,
    connection: &Connection,
    owner: Owner,
    initialize: &Request,
) -> Result<Response, Refusal> {
    let mode = CallMode::CancelOnDrop;
    let answered = duplex::first_response(connection, owner.into(), initialize, mode);
    Ok(children.terms.within_request(answered).await?)
}
