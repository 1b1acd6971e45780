//! In which order the statements of a body are run: the evaluator's.
//!
//! All but `x := ..` comes first, in the order it is written, as far as the local names it uses are known by then. Then
//! the names are taken in the order of the alphabet, each as soon as what it is made from is known, and after each
//! whatever else can be run by then.

use std::collections::BTreeSet;

use super::Step;

/// Puts statements, each with the locals it uses, into order; the first `arguments` locals are known from the start. `None` when one uses what is not declared above.
pub(super) fn ordered(
    steps: Vec<(Step, BTreeSet<usize>)>,
    locals: &[String],
    arguments: usize,
) -> Option<Vec<Step>> {
    // A name used above its declaration is the evaluator's to refuse.
    let mut above: BTreeSet<usize> = BTreeSet::new();
    for (step, used) in &steps {
        above.extend(used);
        if declared(step).iter().any(|slot| above.contains(slot)) {
            return None;
        }
    }
    let mut waiting: Vec<Option<(Step, BTreeSet<usize>)>> = steps.into_iter().map(Some).collect();
    let mut known: BTreeSet<usize> = (0..arguments).collect();
    let mut order = Vec::with_capacity(waiting.len());
    let mut names: Vec<usize> = (0..locals.len()).collect();
    names.sort_by_key(|slot| locals.get(*slot));
    let mut take = |order: &mut Vec<Step>, known: &mut BTreeSet<usize>, name: Option<usize>| {
        let mut taken = false;
        for slot in &mut waiting {
            let ready = slot.as_ref().is_some_and(|(step, used)| {
                let declares = declared(step);
                let meant = match name {
                    Some(name) => declares.contains(&name),
                    None => !matches!(step, Step::Name(..)),
                };
                meant && used.is_subset(known)
            });
            if ready && let Some((step, _)) = slot.take() {
                known.extend(declared(&step));
                order.push(step);
                taken = true;
            }
        }
        taken
    };
    take(&mut order, &mut known, None);
    loop {
        let mut went_on = false;
        for name in &names {
            if take(&mut order, &mut known, Some(*name)) {
                went_on = true;
                take(&mut order, &mut known, None);
            }
        }
        if !went_on {
            break;
        }
    }
    waiting.iter().all(Option::is_none).then_some(order)
}

fn declared(step: &Step) -> Vec<usize> {
    match step {
        Step::Holds(_) | Step::Fails(_) => Vec::new(),
        Step::Name(slot, _) => vec![*slot],
        Step::Each { key, value, .. } => key.iter().chain(value).copied().collect(),
    }
}
