//! The operators' API from the command line: one request, one answer, and what to say when there is none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use keepgate_net::{ConnectorSettings, ExchangeError, OneShot, Target, exchange};
use serde_json::Value;

use super::Context;
use crate::arguments::Api;
use crate::config;
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::run_file::{Found, RunFile};
use crate::serve::AUDIT_DIRECTORY;

/// How long a gateway may take to be reached.
const CONNECT: Duration = Duration::from_secs(2);
/// How long it may take to answer; an act waits for slow disks for less.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest answer, in bytes.
const LONGEST: usize = 16 << 20;
/// Variables that stand for flags.
const URL: &str = "KEEPGATE_ADMIN_URL";
const TOKEN: &str = "KEEPGATE_ADMIN_TOKEN";

/// A gateway's operators' listener, and who asks it.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    /// Its address, or why nobody knows one.
    url: Result<Uri, String>,
    token: Option<String>,
    /// File of the certificate its listener shows; none where authorities vouch for it, or it speaks plain HTTP.
    certificate: Option<PathBuf>,
    /// The file of the state directory in which the token was looked for, where nobody gave another.
    own_token: Option<PathBuf>,
    /// The state directory of this machine's gateway, unless another one was named.
    pub(super) local: Option<PathBuf>,
    /// Whether the directory may be made: the configuration is valid and means it.
    pub(super) may_make: bool,
    /// Notes for the operator on how the gateway was found.
    pub(super) notes: Vec<String>,
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// Nobody listens there: nothing was sent.
    Unreachable(String),
    /// Something was sent that may change something, and nothing came back: it may have been done, or be done yet.
    Silent(String),
    /// Anything else.
    Failed(Failure),
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unreachable(why) => Self::new(Exit::Unreachable, why)
                .hint("does the gateway run? --url or admin.listen names its operators' listener"),
            Unanswered::Silent(why) => Self::new(
                Exit::Unreachable,
                format!("IT IS NOT KNOWN WHETHER IT WAS DONE: the gateway has the request and has not answered: {why}"),
            )
            .hint("look before you ask again: the request may be answered yet"),
            Unanswered::Failed(failure) => failure,
        }
    }
}

impl Gateway {
    /// The gateway the flags name, or else that of the configuration; the token of the flags, the variable or the state
    /// directory.
    pub(super) fn of(api: &Api, context: &Context<'_>) -> Result<Self, Failure> {
        let variable = |name: &str| {
            let mut found = context.variables.iter();
            let (_, value) = found.find(|(known, value)| known == name && !value.is_empty())?;
            value.to_str().map(str::to_owned)
        };
        let (mut notes, mut may_make) = (Vec::new(), false);
        let (url, certificate, local) =
            match (api.url.clone().or_else(|| variable(URL)), &api.state) {
                (Some(url), state) => (Ok(url), None, state.clone()),
                (None, state) => {
                    let found = find(state.as_deref(), context, &mut notes)?;
                    may_make = state.is_none() && notes.is_empty();
                    (found.url, found.certificate, Some(found.state))
                }
            };
        let url = match url {
            Ok(url) => Ok(parse(&url)?),
            Err(why) => Err(why),
        };
        let (token, own_token) = match (&api.token_file, variable(TOKEN), &local) {
            (Some(path), _, _) => (Some(token(path)?), None),
            (None, Some(token), _) => (Some(token), None),
            (None, None, Some(state)) => {
                let path = state.join(keepgate_admin::Token::FILE);
                (token_if_there(&path)?, Some(path))
            }
            (None, None, None) => (None, None),
        };
        Ok(Self {
            url,
            token,
            certificate,
            own_token,
            local,
            may_make,
            notes,
        })
    }

    /// Whether a gateway runs with the state directory, as that has it; one that is elsewhere is not known to.
    pub(super) fn runs(&self) -> bool {
        let Some(state) = self.local.as_deref() else {
            return false;
        };
        // The number of a process means nothing in another namespace; the lock of the log is held in all of them. What cannot be
        // looked at may be held.
        matches!(RunFile::find(state), Found::Running(_))
            || keepgate_audit::is_in_use(&state.join(AUDIT_DIRECTORY)).unwrap_or(true)
    }

    /// Where it is, for messages.
    pub(super) fn place(&self) -> String {
        self.url
            .as_ref()
            .map_or_else(String::clone, ToString::to_string)
    }

    /// Asks, and gives the answer to a success.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Unanswered> {
        let failed = |said: String| Unanswered::Failed(Failure::new(Exit::Start, said));
        let url = self.url.as_ref();
        let url = url.map_err(|why| Unanswered::Unreachable(why.clone()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(format!("failed to start the runtime: {error}")))?;
        let (status, body) = runtime.block_on(self.exchange(url, method, path, body))?;
        let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            if let Some(Value::Array(warnings)) = answer.get_mut("warnings") {
                warnings.extend(self.notes.iter().cloned().map(Value::String));
            }
            return Ok(answer);
        }
        Err(Unanswered::Failed(match &self.own_token {
            Some(path) if status == StatusCode::UNAUTHORIZED => self.wrong_state(url, path),
            Some(_) | None => refused(status, &answer),
        }))
    }

    /// The gateway at `url` does not take the token of the state directory: likely it runs with another one.
    fn wrong_state(&self, url: &Uri, path: &Path) -> Failure {
        let said = match self.token {
            Some(_) => format!(
                "the gateway at `{url}` does not take the token of `{}`",
                path.display()
            ),
            None => format!(
                "the gateway at `{url}` wants a token, and there is none: `{}`",
                path.display()
            ),
        };
        Failure::new(Exit::State, said)
            .hint("--state DIR of the gateway that runs, which may differ from state.dir of a changed configuration, or --token-file")
    }

    async fn exchange(
        &self,
        url: &Uri,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), Unanswered> {
        let unreachable = |why: &(dyn std::error::Error + 'static)| {
            Unanswered::Unreachable(format!("`{url}`: {}", chain(why)))
        };
        let failed = |said: &str| Unanswered::Failed(Failure::new(Exit::Usage, said));
        let target = Target::new(url.clone()).ok_or_else(|| failed("not a URL with a host"))?;
        let connector = OneShot::new(ConnectorSettings {
            timeout: CONNECT,
            native_roots: self.certificate.is_none() && target.is_https(),
            pinned: self.certificate.clone(),
            ..ConnectorSettings::default()
        })
        .map_err(|error| unreachable(&error))?;
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        // Counts only next to the admin token, which names nobody.
        if let Ok(account) = HeaderValue::try_from(account()) {
            request = request.header(keepgate_admin::ACCOUNT, account);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|_error| failed("the token is not one line of text"))?;
        let changes = *request.method() != Method::GET;
        let answer = exchange(&connector, &target, request, LONGEST, ANSWER).await;
        let answer = answer.map_err(|error| match error {
            ExchangeError::TimedOut { .. }
            | ExchangeError::Broken(_)
            | ExchangeError::TooLarge { .. }
                if changes =>
            {
                Unanswered::Silent(format!("`{url}`: {}", chain(&error)))
            }
            ExchangeError::Connect(_)
            | ExchangeError::TimedOut { .. }
            | ExchangeError::Broken(_)
            | ExchangeError::TooLarge { .. } => unreachable(&error),
        });
        let (head, mut body) = answer?.into_parts();
        Ok((head.status, std::mem::take(&mut *body)))
    }
}

/// The gateway on this machine.
struct Local {
    /// URL of its operators' listener, or why there is none.
    url: Result<String, String>,
    /// File of the certificate the listener shows, if it speaks TLS.
    certificate: Option<PathBuf>,
    /// Its state directory.
    state: PathBuf,
}

impl Local {
    /// The one that runs with this state directory.
    fn of(run: RunFile, state: PathBuf) -> Self {
        Self {
            url: Ok(run.url()),
            certificate: run.certificate,
            state,
        }
    }
}

/// Address and state directory of the gateway on this machine: what it wrote into its state directory, else what the
/// configuration has. A configuration that is not valid is enough as long as its `state.dir` can be read.
fn find(
    named: Option<&Path>,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<Local, Failure> {
    if let Some(named) = named
        && let Found::Running(run) = RunFile::find(named)
    {
        // Without a look at the configuration, which may be on a disk that does not answer.
        return Ok(Local::of(run, named.to_path_buf()));
    }
    let configuration = context.configuration();
    let state = match (named, &configuration) {
        (Some(named), _) => named.to_path_buf(),
        (None, Ok(configuration)) => configuration.state.clone(),
        (None, Err(_)) => {
            let read = config::state_directory(&context.config, &context.variables);
            let Some(state) = read else {
                return Err(configuration.err().map_or_else(
                    || Failure::new(Exit::Configuration, "no state directory"),
                    |failure| failure.hint(
                        "--state DIR of the gateway on this machine, or --url and --token-file, work without a configuration",
                    ),
                ));
            };
            notes.push(format!(
                "the configuration `{}` is not valid; its state.dir was used: `{}`",
                context.config.display(),
                state.display()
            ));
            state
        }
    };
    let found = RunFile::find(&state);
    if let Found::Running(run) = found {
        return Ok(Local::of(run, state));
    }
    // The address of another gateway's configuration would be asked with the token of this one.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let mut certificate = None;
    let url = match (configuration, found) {
        (Ok(configuration), _) if real(&configuration.state) == real(&state) => {
            let admin = configuration.admin;
            certificate = admin.tls.map(|tls| tls.certificate);
            let scheme = certificate.as_ref().map_or("http", |_| "https");
            Ok(format!("{scheme}://{}", admin.listen))
        }
        (Ok(_) | Err(_), Found::Stale(run)) => Err(format!(
            "the gateway of `{}`, process {}, has ended",
            state.display(),
            run.pid
        )),
        (Ok(_) | Err(_), Found::Absent | Found::Running(_)) => Err(format!(
            "no gateway runs with the state directory `{}`",
            state.display()
        )),
    };
    Ok(Local {
        url,
        certificate,
        state,
    })
}

/// A URL of an operators' listener.
fn parse(url: &str) -> Result<Uri, Failure> {
    let url: Uri = url
        .parse()
        .map_err(|error| Failure::new(Exit::Usage, format!("not a URL: {error}: `{url}`")))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
        let message = format!("not an http or https URL: `{url}`");
        return Err(Failure::new(Exit::Usage, message)
            .hint("without admin.tls, a tunnel reaches it: `ssh -L 9080:127.0.0.1:9080 host`"));
    }
    Ok(url)
}

/// The account that runs this command.
pub(super) fn account() -> String {
    let id = nix::unistd::Uid::current();
    let named = nix::unistd::User::from_uid(id).ok().flatten();
    named.map_or_else(|| id.to_string(), |user| user.name)
}

/// What a refusal of the API ends with.
fn refused(status: StatusCode, answer: &Value) -> Failure {
    let text = |name: &str| {
        let said = answer.pointer(&format!("/error/{name}"));
        said.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Forbidden,
        StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::BAD_GATEWAY => Exit::Negative,
        StatusCode::BAD_REQUEST => Exit::Usage,
        _ => Exit::Start,
    };
    let message = text("message");
    let said = if message.is_empty() {
        format!("the gateway answered with status {}", status.as_u16())
    } else {
        message
    };
    let failure = Failure::new(exit, said);
    match text("hint") {
        hint if hint.is_empty() => failure,
        hint => failure.hint(&hint),
    }
}

/// The token of a state directory in which a gateway has run. A directory that cannot be looked into is an error: without
/// a token the refusal would blame the token.
fn token_if_there(path: &Path) -> Result<Option<String>, Failure> {
    match path.try_exists() {
        Ok(true) => token(path).map(Some),
        Ok(false) => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let said = format!("failed to read the token: {error}: `{}`", path.display());
    Failure::new(Exit::State, said).hint("run it as the gateway's user, or pass --token-file")
}

/// The one line of a file.
fn token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok(text.trim().to_owned())
}
