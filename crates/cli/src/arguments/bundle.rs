//! The command line of `policy bundle`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keepgate_jose::Algorithm;

/// What can be done with bundles.
#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// Pack a directory of policies into a bundle, and sign it if there is a key
    Build(BuildBundle),
    /// Sign a bundle; a signature it has is replaced
    Sign(SignBundle),
    /// Check a bundle as the gateway would, and tell what it is
    Verify(VerifyBundle),
}

/// How a bundle is packed.
#[derive(Debug, Args)]
pub(crate) struct BuildBundle {
    /// Directory with policies
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// The bundle to write
    #[arg(long, value_name = "FILE", default_value = "bundle.tar.gz")]
    pub(crate) out: PathBuf,
    /// What this state of it is called
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// A part of `data` that the bundle owns, like mcp/authz; may be repeated [default: all]
    #[arg(long = "root", value_name = "PATH")]
    pub(crate) roots: Vec<String>,
    /// Take *_test.rego into it
    #[arg(long)]
    pub(crate) tests: bool,
    #[command(flatten)]
    pub(crate) signing: Keys,
}

/// How a bundle is signed.
#[derive(Debug, Args)]
pub(crate) struct SignBundle {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// Where the signed one goes [default: in its place]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) signing: Keys,
}

/// How a bundle is checked.
#[derive(Debug, Args)]
pub(crate) struct VerifyBundle {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) verification: Keys,
}

/// A key and what it is for.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// PEM file with the key: the private one to sign (PKCS #8), the public one to verify
    #[arg(long, value_name = "FILE", requires = "algorithm")]
    pub(crate) key: Option<PathBuf>,
    /// The key's algorithm, like ES256
    #[arg(long, value_parser = algorithm)]
    pub(crate) algorithm: Option<Algorithm>,
    /// What the signature calls the key (kid)
    #[arg(long = "key-id", value_name = "ID")]
    pub(crate) id: Option<String>,
    /// What the signature is for
    #[arg(long)]
    pub(crate) scope: Option<String>,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Algorithm::all().map(Algorithm::as_str).collect();
        format!("one of {}", known.join(", "))
    })
}
