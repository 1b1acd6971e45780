//! The command line of `policy`. One variant a verb; what a verb takes is a struct of its own.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check that the policies can come into force
    Check(Directories),
    /// Run the policies' tests and compare their matrix with the golden one
    Test(TestPolicy),
}

/// Where policies are.
#[derive(Debug, Args)]
pub(crate) struct Directories {
    /// Directories with policies [default: those of the configuration]
    #[arg(value_name = "DIR")]
    pub(crate) directories: Vec<PathBuf>,
}

/// How policies are tested.
#[derive(Debug, Args)]
pub(crate) struct TestPolicy {
    #[command(flatten)]
    pub(crate) directories: Directories,
    /// Write the matrix as it is now over the golden one
    #[arg(long)]
    pub(crate) update: bool,
}
