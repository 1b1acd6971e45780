//! `policy bundle`: packing, signing and checking what a gateway can fetch.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use keepgate_jose::{SigningKey, VerifyingKey};
use keepgate_policy::Settings;
use keepgate_policy::bundle::{
    About, BundleSource, MAX_BYTES, Packing, Trusted, Verification, WriteError, pack, sign,
};
use serde::Serialize;

use super::problem::refused;
use crate::arguments::{BuildBundle, Bundle, BundleKeys as Keys, SignBundle, VerifyBundle};
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// What a bundle is.
#[derive(Serialize)]
struct Told {
    bundle: String,
    revision: Option<String>,
    roots: Vec<String>,
    files: Vec<String>,
    bytes: usize,
    signed: Option<Signed>,
}

#[derive(Serialize)]
struct Signed {
    key: Option<String>,
    algorithm: &'static str,
    scope: Option<String>,
    issued_at: Option<i64>,
}

/// `policy bundle ..`.
pub(super) fn run(command: Bundle, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Bundle::Build(wish) => build(&wish, context),
        Bundle::Sign(wish) => resign(&wish, context),
        Bundle::Verify(wish) => verify(&wish, context),
    }
}

fn build(wish: &BuildBundle, context: &mut Context<'_>) -> Result<(), Failure> {
    let packing = Packing {
        revision: wish.revision.clone(),
        roots: wish.roots.clone(),
        tests: wish.tests,
    };
    let packed = pack(&wish.directory, &packing, &Settings::default())
        .map_err(|error| unwritten(&error, context))?;
    let (bundle, verification) = signed(packed, &wish.signing, context)?;
    finish(&wish.out, &bundle, verification, context)
}

fn resign(wish: &SignBundle, context: &mut Context<'_>) -> Result<(), Failure> {
    if wish.signing.key.is_none() {
        return Err(Failure::new(Exit::Usage, "no key to sign with").hint("name it by --key"));
    }
    let before = read(&wish.bundle)?;
    let (bundle, verification) = signed(before, &wish.signing, context)?;
    let out = wish.out.as_ref().unwrap_or(&wish.bundle);
    finish(out, &bundle, verification, context)
}

fn verify(wish: &VerifyBundle, context: &mut Context<'_>) -> Result<(), Failure> {
    let keys = &wish.verification;
    let verification = match (&keys.key, keys.algorithm) {
        (Some(path), Some(algorithm)) => {
            let key =
                VerifyingKey::read(algorithm, &read(path)?).map_err(|error| wrong(path, &error))?;
            trusting(key, keys)
        }
        (None, _) | (_, None) => None,
    };
    let bundle = read(&wish.bundle)?;
    tell(&wish.bundle, &bundle, verification, context)
}

/// The bundle with a signature, if there is a key, and who is to be believed then.
fn signed(
    bundle: Vec<u8>,
    keys: &Keys,
    context: &mut Context<'_>,
) -> Result<(Vec<u8>, Option<Verification>), Failure> {
    let (Some(path), Some(algorithm)) = (&keys.key, keys.algorithm) else {
        return Ok((bundle, None));
    };
    let key = SigningKey::read(algorithm, &read(path)?).map_err(|error| wrong(path, &error))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let now = now.and_then(|now| i64::try_from(now.as_secs()).ok());
    let signed = sign(
        &bundle,
        &key,
        keys.id.as_deref(),
        keys.scope.as_deref(),
        now,
    )
    .map_err(|error| unwritten(&error, context))?;
    Ok((signed, trusting(key.verifying(), keys)))
}

fn trusting(key: VerifyingKey, keys: &Keys) -> Option<Verification> {
    Verification::new(vec![Trusted {
        id: keys.id.clone(),
        key,
        scope: keys.scope.clone(),
    }])
}

/// Reads the bundle as a gateway would, then writes it: what is written is good.
fn finish(
    out: &Path,
    bundle: &[u8],
    verification: Option<Verification>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let told = examine(out, bundle, verification, context)?;
    keepgate_files::replace_public(out, bundle)
        .map_err(|error| Failure::caused(Exit::Negative, &error))?;
    Ok(context.output.print(&told, text)?)
}

fn tell(
    path: &Path,
    bundle: &[u8],
    verification: Option<Verification>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let told = examine(path, bundle, verification, context)?;
    Ok(context.output.print(&told, text)?)
}

fn examine(
    path: &Path,
    bundle: &[u8],
    verification: Option<Verification>,
    context: &mut Context<'_>,
) -> Result<Told, Failure> {
    let source = BundleSource::file(path, verification);
    let about = source.examine(bundle, &Settings::default());
    let about = about.map_err(|errors| refused(&errors, context))?;
    Ok(told(path, about))
}

fn told(path: &Path, about: About) -> Told {
    Told {
        bundle: path.display().to_string(),
        revision: about.revision.as_deref().map(str::to_owned),
        roots: about.roots.iter().map(ToString::to_string).collect(),
        files: about.files,
        bytes: about.size,
        signed: about.signed.map(|signed| Signed {
            key: signed.key,
            algorithm: signed.algorithm.as_str(),
            scope: signed.scope,
            issued_at: signed.issued_at,
        }),
    }
}

fn text(told: &Told) -> String {
    let owned: Vec<String> = told
        .roots
        .iter()
        .map(|root| {
            if root.is_empty() {
                "all of data".to_owned()
            } else {
                format!("data.{}", root.replace('/', "."))
            }
        })
        .collect();
    let signed = told.signed.as_ref().map_or_else(
        || "not signed".to_owned(),
        |signed| {
            let key = signed.key.as_deref().unwrap_or("without a name");
            let scope = signed
                .scope
                .as_deref()
                .map(|scope| format!(", for {scope}"));
            format!(
                "signed by {} key {key}{}",
                signed.algorithm,
                scope.unwrap_or_default()
            )
        },
    );
    let revision = told.revision.as_deref().unwrap_or("none");
    let files: String = told
        .files
        .iter()
        .map(|file| format!("  {file}\n"))
        .collect();
    format!(
        "bundle ok: {} ({} bytes, {signed})\nrevision: {revision}\nowns: {}\nfiles:\n{files}",
        told.bundle,
        told.bytes,
        owned.join(", ")
    )
}

fn unwritten(error: &WriteError, context: &mut Context<'_>) -> Failure {
    match error {
        WriteError::Files(errors) => refused(errors, context),
        WriteError::Archive(_) | WriteError::Sign(_) | WriteError::Pack(_) => {
            Failure::caused(Exit::Policy, error)
        }
    }
}

fn wrong(path: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    let said = crate::failure::chain(error);
    Failure::new(
        Exit::Negative,
        format!("not a key that can be used: `{}`: {said}", path.display()),
    )
}

/// A file, no longer than a bundle may be.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let mut bytes = Vec::new();
    keepgate_files::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            Failure::new(
                Exit::Negative,
                format!("failed to read `{}`: {error}", path.display()),
            )
        })?;
    Ok(bytes)
}
