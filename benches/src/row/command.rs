//! The `keepgate` command under the realistic policy: `$KEEPGATE_BIN`, or the one built beside this program.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use super::{Stage, Started, destination};
use crate::error::{Error, io};
use crate::folder::{Folder, Rules};
use crate::gateway::{SESSIONS_PER_CALLER, create_key};
use crate::process::Part;

/// How long the command may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The command's program, if there is one.
pub(super) fn program() -> Option<PathBuf> {
    let named = env::var_os("KEEPGATE_BIN").map(PathBuf::from);
    let beside = || Some(env::current_exe().ok()?.with_file_name("keepgate"));
    named.or_else(beside).filter(|program| program.is_file())
}

/// Starts the command and waits until it listens.
pub(super) fn start(stage: &Stage, name: &str) -> Result<Started, Error> {
    let program = program().ok_or_else(|| Error::Reply("no `keepgate` to run".into()))?;
    let state = stage.folder.path("state-command");
    let key = create_key(&state)?;
    let (address, admin) = (free_address()?, free_address()?);
    let config = stage.folder.path("keepgate.yaml");
    fs::write(&config, configuration(stage, address, admin))
        .map_err(io("write a configuration"))?;
    let arguments = [
        OsStr::new("serve"),
        OsStr::new("--config"),
        config.as_os_str(),
    ];
    let log = stage.folder.path("keepgate.log");
    let mut part = Part::foreign(name, &program, &arguments, &log, stage.core)?;
    listening(name, &mut part, address, &log)?;
    let mut to = destination(address);
    to.key = Some(key);
    Ok(Started {
        part: Some(part),
        to,
    })
}

/// Starts the command for anonymous callers under one policy, and gives where it serves and where operators ask.
pub(crate) fn start_open(
    folder: &Folder,
    rules: Rules,
    upstream: SocketAddr,
) -> Result<(Part, SocketAddr, SocketAddr), Error> {
    let server = format!("  bench: {{ url: \"http://{upstream}/bench/mcp\" }}\n");
    start_with(folder, rules, &server)
}

/// [`start_open`] with these lines under `servers`.
pub(crate) fn start_with(
    folder: &Folder,
    rules: Rules,
    servers: &str,
) -> Result<(Part, SocketAddr, SocketAddr), Error> {
    let program = program().ok_or_else(|| Error::Reply("no `keepgate` to run".into()))?;
    let (address, admin) = (free_address()?, free_address()?);
    let (policy, state) = (folder.policy(rules), folder.path("state-command"));
    let config = folder.path("keepgate.yaml");
    let text = format!(
        "version: 1\nlisten: {address}\nadmin: {{ listen: {admin} }}\nauth: {{ mode: anonymous }}\n\
         state: {{ dir: {} }}\npolicies: [{}]\nlog: {{ level: warn }}\n\
         limits:\n  in_flight: 8000\n  streams: 8000\n  connections: 8000\n\
         \x20 rate: {{ session: 4000000000/1m, caller: 4000000000/1m, opening: 4000000000/1m }}\n\
         \x20 concurrency: {{ session: 1000000, caller: 1000000 }}\n\
         servers:\n{servers}",
        state.display(),
        policy.display()
    );
    fs::write(&config, text).map_err(io("write a configuration"))?;
    let arguments = [
        OsStr::new("serve"),
        OsStr::new("--config"),
        config.as_os_str(),
    ];
    let log = folder.path("keepgate.log");
    let mut part = Part::foreign("keepgate", &program, &arguments, &log, None)?;
    listening("keepgate", &mut part, address, &log)?;
    Ok((part, address, admin))
}

/// Waits until the command listens.
fn listening(name: &str, part: &mut Part, address: SocketAddr, log: &Path) -> Result<(), Error> {
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if part.ended() || Instant::now() > end {
            return Err(Error::Silent {
                part: name.to_owned(),
                expected: "a connection accepted",
                said: fs::read_to_string(log).unwrap_or_default(),
            });
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn configuration(stage: &Stage, address: SocketAddr, admin: SocketAddr) -> String {
    let policy = stage.folder.policy(Rules::Realistic);
    let state = stage.folder.path("state-command");
    let (policy, state) = (policy.display(), state.display());
    let upstream = stage.upstream;
    format!(
        "version: 1\n\
         listen: {address}\n\
         admin: {{ listen: {admin} }}\n\
         auth: {{ mode: keys }}\n\
         state: {{ dir: {state} }}\n\
         policies: [{policy}]\n\
         log: {{ level: warn }}\n\
         limits:\n\
         \x20 sessions_per_caller: {SESSIONS_PER_CALLER}\n\
         \x20 rate: {{ session: 4000000000/1m, caller: 4000000000/1m, opening: 4000000000/1m }}\n\
         \x20 concurrency: {{ session: 1000000, caller: 1000000 }}\n\
         servers:\n  \
           bench: {{ url: \"http://{upstream}/bench/mcp\", owner: crm-team, environment: production }}\n"
    )
}

/// A port that was free a moment ago. The command must be told one; nothing else here asks for ports meanwhile.
fn free_address() -> Result<SocketAddr, Error> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(io("find a free port"))
}
