//! The cost of a pass over an answer, counted in steps: measured time is a fact of the machine, counted steps are one of the
//! answer.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts steps; outside tests nothing.
#[inline]
pub(super) fn add(count: usize) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + count as u64);
    #[cfg(not(test))]
    let _ = count;
}

/// The steps that `work` takes.
#[cfg(test)]
pub(super) fn of(work: impl FnOnce()) -> u64 {
    let before = STEPS.get();
    work();
    STEPS.get() - before
}

#[cfg(test)]
mod tests;
