//! Landlock as the running kernel offers it.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};

/// Variable that lowers the version that is used, for trying what an older kernel lacks. It cannot raise it.
pub const VARIABLE: &str = "KEEPGATE_LANDLOCK_ABI";

/// The newest version this launcher was tried with.
const NEWEST: u8 = 7;

/// A restriction that only later kernels know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Moving files between directories, where both allow it.
    Refer,
    /// Cutting files short by their path.
    Truncate,
    /// Ports of TCP.
    Network,
    /// Commands to device files.
    Devices,
    /// Signals to other processes, and abstract sockets of theirs.
    Signals,
}

impl Feature {
    /// Every feature, with the version that brought it and the kernel that has it.
    pub const ALL: [(Self, u8, &'static str); 5] = [
        (Self::Refer, 2, "5.19"),
        (Self::Truncate, 3, "6.2"),
        (Self::Network, 4, "6.7"),
        (Self::Devices, 5, "6.10"),
        (Self::Signals, 6, "6.12"),
    ];

    /// Sentence for operators on what lacks without it.
    pub fn lack(self) -> &'static str {
        match self {
            Self::Refer => "a child cannot move a file to another directory",
            Self::Truncate => {
                "a child can cut files of the gateway short, where its user may write them"
            }
            Self::Network => "a child's network cannot be restricted",
            Self::Devices => "a child can send commands to devices it may open",
            Self::Signals => "a child can send signals to the gateway, where it runs as its user",
        }
    }
}

/// Returns the version of Landlock's interface to use: the kernel's, or less where `cap` lowers it. 0 is none.
pub fn abi(cap: Option<u8>) -> u8 {
    let kernel = offered();
    cap.map_or(kernel, |cap| cap.min(kernel))
}

/// The newest version whose rules the kernel takes. A ruleset that is not entered restricts nobody.
fn offered() -> u8 {
    let takes =
        |version: &u8| ruleset(*version, true).is_ok_and(|ruleset| ruleset.create().is_ok());
    // 7 brought nothing that is handled here; the kernels that have 6 take the same rules.
    (1..NEWEST).rev().find(takes).unwrap_or(0)
}

/// A ruleset that restricts everything the version knows, and fails where the kernel does not.
pub(crate) fn ruleset(version: u8, network: bool) -> Result<Ruleset, landlock::RulesetError> {
    let abi = version_of(version);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if network && version >= 4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if version >= 6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    Ok(ruleset)
}

/// The version as the library names it.
pub(crate) fn version_of(version: u8) -> ABI {
    match version {
        0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6.. => ABI::V6,
    }
}
