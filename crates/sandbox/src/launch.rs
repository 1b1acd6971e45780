//! From the gateway's rights to those of a child, in one process and one direction.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use caps::{CapSet, Capability};
use landlock::{
    Access as _, AccessFs, AccessNet, NetPort, PathBeneath, RulesetCreatedAttr, RulesetStatus,
};
use nix::{
    fcntl::OFlag,
    sys::prctl,
    unistd::{close, setsid},
};

use crate::{
    account::{Account, AccountError},
    kernel,
    plan::{Access, Grant, Plan, PlanError},
    processes,
    rules::{Files, Rules},
};

/// Command of the binary that makes it the launcher. Not for people.
pub const COMMAND: &str = "__launch";

/// Paths a program needs of the system wherever files are on a list.
const SYSTEM: [&str; 16] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix",
    "/gnu",
    "/snap",
    "/etc",
    "/proc",
    "/sys",
    // Where /etc/resolv.conf leads.
    "/run/systemd/resolve",
    "/run/resolvconf",
];
/// Devices that hold nothing.
const DEVICES: [&str; 7] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/shm",
];
/// Variables that name the caches of `npx` and `uvx`, and where they are without, in the home directory.
const CACHES: [(&str, &str); 4] = [
    ("npm_config_cache", ".npm"),
    ("XDG_CACHE_HOME", ".cache"),
    ("UV_CACHE_DIR", ".cache/uv"),
    ("UV_TOOL_DIR", ".local/share/uv"),
];
/// Their settings.
const TOOL_SETTINGS: [&str; 2] = [".npmrc", ".config/uv"];

/// Reason why a program was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The rules are not those of this version.
    #[error("the launcher's rules cannot be read")]
    Rules(#[from] serde_json::Error),
    /// There is no program.
    #[error("no program to start")]
    Nothing,
    /// A descriptor that was not handed to us cannot be closed.
    #[error("failed to close inherited files")]
    Descriptors(#[source] io::Error),
    /// The user.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Capabilities, or what goes with them.
    #[error("failed to give up rights: {0}")]
    Rights(String),
    /// The grants cannot be computed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kernel did not take the rules.
    #[error("failed to enter the sandbox")]
    Landlock(#[from] landlock::RulesetError),
    /// The kernel took a part of them.
    #[error("the kernel enforces the sandbox in part only")]
    Partial,
    /// The program.
    #[error("failed to start `{program}`")]
    Program {
        /// The program.
        program: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// Becomes the program `command` names, under `rules`. Returns only when that fails.
pub fn launch(rules: &str, command: &[OsString]) -> LaunchError {
    let Some((program, arguments)) = command.split_first() else {
        return LaunchError::Nothing;
    };
    if let Err(error) = confine(rules) {
        return error;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "no second process is started: this process becomes the program"
    )]
    let mut process = Command::new(program);
    LaunchError::Program {
        program: program.to_string_lossy().into_owned(),
        source: process.args(arguments).exec(),
    }
}

/// Gives up everything the rules do not leave.
fn confine(rules: &str) -> Result<(), LaunchError> {
    let rules: Rules = serde_json::from_str(rules)?;
    // First: everything opened from here on is closed by the system when the program starts.
    close_inherited().map_err(LaunchError::Descriptors)?;
    // Out of the terminal's session: a process in it may type into it. Fails for the leader of a group, who has left.
    let _led_already = setsid().is_err();
    let grants = if rules.abi > 0 {
        // Before the plan, which looks at mounts. Where the system does not let us, readiness shows it.
        let _hidden = processes::hide(rules.user.as_deref())?;
        plan(&rules)?
    } else {
        Vec::new()
    };
    give_up_rights(rules.user.as_deref())?;
    if rules.abi > 0 {
        restrict(&rules, &grants)?;
    }
    Ok(())
}

/// Closes all but standard input, output and error.
fn close_inherited() -> io::Result<()> {
    let listed = fs::read_dir("/proc/self/fd")?;
    let numbers: Vec<i32> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // The directory we just read is among them, and closed by now.
        match close(number) {
            Ok(()) | Err(nix::Error::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Every path that is granted.
fn plan(rules: &Rules) -> Result<Vec<Grant>, LaunchError> {
    let mounts = fs::read("/proc/self/mountinfo").map_err(|source| PlanError::List {
        path: "/proc/self/mountinfo".into(),
        source,
    })?;
    let plan = Plan::new(
        &rules.hidden,
        &rules.read_only,
        &String::from_utf8_lossy(&mounts),
    );
    let home = env::var_os("HOME").map(PathBuf::from);
    let home = home.filter(|home| home.is_absolute() && home.is_dir());
    let caches = caches(home.as_deref());
    let mut roots: Vec<(PathBuf, Access)> = Vec::new();
    match &rules.files {
        Files::Unlisted => roots.push(("/".into(), Access::Full)),
        Files::Listed { read, write } => {
            let all = |paths: &[PathBuf], access| -> Vec<(PathBuf, Access)> {
                paths.iter().map(|path| (path.clone(), access)).collect()
            };
            roots.extend(all(&SYSTEM.map(PathBuf::from), Access::Read));
            roots.extend(all(&DEVICES.map(PathBuf::from), Access::Full));
            roots.extend(all(read, Access::Read));
            roots.extend(all(write, Access::Full));
            let settings = home
                .iter()
                .flat_map(|home| TOOL_SETTINGS.map(|name| home.join(name)));
            roots.extend(settings.map(|path| (path, Access::Read)));
        }
    }
    // Also where all is granted: the home may be on the way to what is hidden, and these not be there yet.
    roots.extend(caches.into_iter().map(|path| (path, Access::Full)));
    Ok(plan.grants(roots)?)
}

/// The directories `npx` and `uvx` keep what they fetched in.
fn caches(home: Option<&Path>) -> Vec<PathBuf> {
    let named = |(variable, below): (&str, &str)| {
        let named = env::var_os(variable).map(PathBuf::from);
        named
            .filter(|path| path.is_absolute())
            .or_else(|| Some(home?.join(below)))
    };
    CACHES.into_iter().filter_map(named).collect()
}

/// Takes the user, and gives up every capability and the ways back to one.
fn give_up_rights(user: Option<&str>) -> Result<(), LaunchError> {
    let failed = |error: String| LaunchError::Rights(error);
    let account = user.map(Account::find).transpose()?;
    // Only a process with this one may shrink the set. Without it no_new_privs keeps what the set has from us.
    let may_shrink = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP);
    if may_shrink.map_err(|error| failed(error.to_string()))? {
        for capability in caps::runtime::thread_all_supported() {
            caps::drop(None, CapSet::Bounding, capability)
                .map_err(|error| failed(error.to_string()))?;
        }
    }
    if let Some(account) = account {
        account.take().map_err(|error| failed(error.to_string()))?;
    }
    prctl::set_no_new_privs().map_err(|error| failed(error.to_string()))?;
    for set in [
        CapSet::Ambient,
        CapSet::Effective,
        CapSet::Inheritable,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(|error| failed(error.to_string()))?;
    }
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        let left = caps::read(None, set).map_err(|error| failed(error.to_string()))?;
        if !left.is_empty() {
            return Err(failed(format!("{set:?} still has {left:?}")));
        }
    }
    Ok(())
}

/// Enters the domain.
fn restrict(rules: &Rules, grants: &[Grant]) -> Result<(), LaunchError> {
    let abi = kernel::version_of(rules.abi);
    let mut ruleset = kernel::ruleset(rules.abi, rules.network.is_some())?.create()?;
    for grant in grants {
        // One by one: as many descriptors as a large directory has entries are not to be had.
        let Some((file, is_directory)) = open(&grant.path) else {
            continue;
        };
        let access = match grant.access {
            Access::Full => AccessFs::from_all(abi),
            Access::Read => AccessFs::from_read(abi),
        };
        let access = if is_directory {
            access
        } else {
            access & AccessFs::from_file(abi)
        };
        ruleset = ruleset.add_rule(PathBeneath::new(file, access))?;
    }
    for port in rules.network.iter().flatten() {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let status = ruleset.restrict_self()?;
    if status.ruleset == RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err(LaunchError::Partial)
    }
}

/// Opens what is granted, if it is still what was looked at: something else in its place may be a link to what is
/// hidden. A cache that is not there yet is made, as nobody may make it later.
fn open(path: &Path) -> Option<(File, bool)> {
    let open = || {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let mut options = File::options();
        options.read(true).custom_flags(flags.bits()).open(path)
    };
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_cache(path) => {
            fs::create_dir_all(path).ok()?;
            open()
        }
        opened => opened,
    }
    .ok()?;
    let kind = file.metadata().ok()?.file_type();
    let found = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    (!kind.is_symlink() && found == path).then_some((file, kind.is_dir()))
}

/// Whether a path is one of the caches.
fn is_cache(path: &Path) -> bool {
    let home = env::var_os("HOME").map(PathBuf::from);
    let caches = caches(home.as_deref());
    caches
        .iter()
        .any(|cache| crate::plan::resolved(cache) == path)
}
