//! The command line of `policy`. One variant a verb; what a verb takes is a struct of its own.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use keepgate_policy::runner::Filter;

use super::bundle::Bundle;
use super::decisions::{EvalPolicy, ExplainPolicy, RecordPolicy, ReplayPolicy};

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check that the policies can come into force
    Check(Directories),
    /// Run the policies' tests and compare their matrix with the golden one
    ///
    /// Tests are rules named test_* in files named *_test.rego. Where there is neither a test nor a matrix, it fails.
    Test(TestPolicy),
    /// Run the tests and tell which rules never held and which lines were never reached
    Coverage(CoveragePolicy),
    /// Print the JSON Schema of what rules see, or of what they may say
    Schema {
        /// Which of them
        #[arg(value_enum, default_value_t)]
        which: Schema,
    },
    /// Write a policy to begin with, with its tests, into a new directory
    New(NewPolicy),
    /// Judge an input, or ask the rules anything
    ///
    /// Without a query it prints the decision, and ends with 1 when that is a refusal.
    Eval(EvalPolicy),
    /// Tell why a decision came out as it did, rule by rule
    ///
    /// For a recorded decision by its id, as refusals and audit records name it (needs `decisions.file`), or an input.
    Explain(ExplainPolicy),
    /// Take recorded decisions into a file of fixtures, each kind of call once
    Record(RecordPolicy),
    /// Judge recorded decisions again with other policies, and tell what would change
    ///
    /// Ends with 0 when nothing does, 15 when something would be allowed that was not, 16 when only less would be, 17 when
    /// that is not certain because some records could not be replayed.
    Replay(ReplayPolicy),
    /// Pack, sign and check bundles of policies, which a gateway can fetch
    #[command(subcommand)]
    Bundle(Bundle),
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
    /// Run only tests whose package and name match, like "authz_test.test_reads"
    #[arg(long, value_name = "REGEX")]
    pub(crate) filter: Option<Filter>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Tell what the tests went through, as `policy coverage` does
    #[arg(long)]
    pub(crate) coverage: bool,
    /// Fail when the tests went through less of the lines, or of the rules
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) threshold: Option<u8>,
    /// Run again whenever a file changes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["update", "junit"])]
    pub(crate) watch: bool,
}

/// How coverage is told.
#[derive(Debug, Args)]
pub(crate) struct CoveragePolicy {
    #[command(flatten)]
    pub(crate) directories: Directories,
    /// Fail when the tests went through less of the lines, or of the rules
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) threshold: Option<u8>,
}

/// The schemas there are.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Schema {
    /// Every field of `input`.
    #[default]
    Input,
    /// What the sets of package mcp.authz may hold.
    Decision,
    /// A server's definition, the mcp_server document.
    Definition,
}

/// What a new policy is to be.
#[derive(Debug, Args)]
pub(crate) struct NewPolicy {
    /// The directory; it must not be there yet, or be empty
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// What to begin with
    #[arg(long, value_enum, default_value_t)]
    pub(crate) template: Template,
}

/// What a policy can begin with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// Each role may use the tools a table names; everything else is refused.
    #[default]
    LeastPrivilege,
    /// Everyone may read, and nobody may change anything.
    ReadOnly,
    /// Databases: one statement that reads, from tables on a list.
    Sql,
    /// Nothing but guardrails: whatever tenants allow, these hold.
    Guardrail,
}
