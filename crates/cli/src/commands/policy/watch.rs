//! Doing something again whenever a policy file changes, until the process is ended.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::serve::watch::{Subject, Watch};

/// Does `work` now and after each change under `directories`. What goes wrong is told and waits for the next change.
///
/// # Errors
/// Nobody reads the output any more, or nothing can be waited for.
pub(super) fn run(
    directories: Vec<PathBuf>,
    context: &mut Context<'_>,
    mut work: impl FnMut(&mut Context<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused(Exit::Start, &error))?;
    // From before the first run: a change during it is not lost.
    let mut watch = Watch::start(BTreeMap::from([(Subject::Policy, directories)]));
    loop {
        if let Err(failure) = work(context) {
            if failure.is_broken_pipe() {
                return Err(failure);
            }
            if !failure.report().is_empty() {
                context.output.remark(&failure.report())?;
            }
        }
        context.output.remark("waiting for a change; Ctrl-C ends")?;
        runtime.block_on(watch.next());
        context.output.remark("changed, once more")?;
    }
}
