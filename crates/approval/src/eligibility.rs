//! Whether a person may decide over a call: by the approvers its rule names, and never for themselves.

use crate::{
    FrozenCall,
    frozen::{Duty, Risk},
    settings::{Settings, Unrelated},
};

/// Somebody who decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Id, which nobody else ever has: who is added again under the name of one who left is another.
    pub id: Box<str>,
    /// Name, as operators are listed.
    pub name: Box<str>,
    /// Account on the machine that whoever holds the admin token claims to be: no proof of being another than the caller, but
    /// never the calls of that account.
    pub account: Option<Box<str>>,
    /// Groups.
    pub groups: Vec<Box<str>>,
}

impl Person {
    /// Name of whoever holds the admin token.
    pub const NAMELESS: &str = "bootstrap";

    /// The name with the claimed account, as records have it.
    pub(crate) fn on_record(&self) -> String {
        match &self.account {
            Some(account) => format!("{}:{account}", self.name),
            None => self.name.to_string(),
        }
    }
}

/// Reason a person may not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ineligible {
    /// The rule names others.
    #[error("the rule names other approvers")]
    NotNamed,
    /// The person's step has not come yet.
    #[error("the rules ask others first: your step has not come yet")]
    NotYet,
    /// The person made the request, or owns the key it was made with.
    #[error("nobody approves their own request")]
    Requester,
    /// The admin token names nobody: it cannot be one of several.
    #[error(
        "the admin token names nobody: rules that need several people need operators, `keepgate operators add`"
    )]
    Nameless,
    /// Nothing shows that whoever holds the admin token is not the caller.
    #[error(
        "the admin token names nobody, so nothing shows that you are not the caller: decide as an operator (`keepgate \
         operators add NAME --role approver`), or set `approvals.unrelated: allow`"
    )]
    Unnamed,
    /// The role or the token that let the person decide is gone.
    #[error("you are not an operator who may approve any more")]
    Gone,
    /// Nothing shows that the person is not the caller.
    #[error(
        "nothing shows that you are not the caller: give its key an owner (`keepgate keys create --owner`), or set \
         `approvals.unrelated: allow`"
    )]
    Unrelated,
}

/// Whether a duty is one that `person` can meet.
fn names(duty: &Duty, person: &Person) -> bool {
    let mut approvers = duty.approvers.iter();
    duty.approvers.is_empty()
        || approvers.any(|approver| match approver.split_once(':') {
            Some(("user", name)) => *name == *person.name,
            Some(("group", name)) => person.groups.iter().any(|group| **group == *name),
            Some(_) | None => false,
        })
}

/// The step whose turn it is once these people have agreed, each eligible, there once, and in this order; none when all duties are
/// met. A yes counts in the step it was given in, so who agreed to one step has not agreed to the next.
fn step_after(people: &[Person], call: &FrozenCall) -> Option<u32> {
    let duties = &call.requirement.duties;
    let mut counts = vec![0_u32; duties.len()];
    let turn = |counts: &[u32]| {
        let unmet = duties.iter().zip(counts);
        let unmet = unmet.filter(|(duty, count)| **count < duty.quorum.max(1));
        unmet.map(|(duty, _)| duty.step).min()
    };
    for person in people {
        let step = turn(&counts)?;
        for (duty, count) in duties.iter().zip(&mut counts) {
            if duty.step == step && names(duty, person) {
                *count = count.saturating_add(1);
            }
        }
    }
    turn(&counts)
}

/// Whether these people, in this order, meet every duty of `call`.
pub(crate) fn is_enough(people: &[Person], call: &FrozenCall) -> bool {
    !call.requirement.duties.is_empty() && step_after(people, call).is_none()
}

/// Whether it is the turn of `person` to agree, after these people have.
///
/// # Errors
/// [`Ineligible::NotYet`] when a step before theirs is not done.
pub(crate) fn check_turn(
    person: &Person,
    people: &[Person],
    call: &FrozenCall,
) -> Result<(), Ineligible> {
    let Some(step) = step_after(people, call) else {
        return Ok(());
    };
    let mut duties = call.requirement.duties.iter();
    if duties.any(|duty| duty.step == step && names(duty, person)) {
        Ok(())
    } else if call
        .requirement
        .duties
        .iter()
        .any(|duty| duty.step > step && names(duty, person))
    {
        Err(Ineligible::NotYet)
    } else {
        // Of a step that is done: one more yes to it changes nothing.
        Ok(())
    }
}

/// Whether `person` may decide over `call`.
///
/// # Errors
/// [`Ineligible`], the reason.
pub(crate) fn check(
    person: &Person,
    call: &FrozenCall,
    settings: &Settings,
    is_operator: impl Fn(&str) -> bool,
) -> Result<(), Ineligible> {
    if !call
        .requirement
        .duties
        .iter()
        .any(|duty| names(duty, person))
    {
        return Err(Ineligible::NotNamed);
    }
    // Whoever holds the admin token may be an operator as well, and would count twice.
    let needs_several = call.requirement.duties.len() > 1
        || call.requirement.duties.iter().any(|duty| duty.quorum > 1);
    let is_nameless = &*person.name == Person::NAMELESS;
    if needs_several && is_nameless {
        return Err(Ineligible::Nameless);
    }
    let caller = &call.caller;
    let own = [Some(&*caller.subject), caller.owner.as_deref()];
    let is_own = |own: &str| own == &*person.name || Some(own) == person.account.as_deref();
    // Names of an issuer are not ours, but equal ones are more likely one person than two.
    if own.into_iter().flatten().any(is_own) {
        return Err(Ineligible::Requester);
    }
    // One person may try everything out alone.
    // An owner who is no operator compares with nobody: a slip of the pen must not let its owner decide.
    // Whoever holds the admin token may be that owner, whatever account they name.
    let is_compared = &*caller.kind == "anonymous"
        || (!is_nameless && caller.owner.as_deref().is_some_and(is_operator));
    let is_allowed = match settings.unrelated {
        Unrelated::Allow => true,
        Unrelated::LowRisk => call.requirement.risk == Risk::Low,
    };
    if is_compared || is_allowed {
        Ok(())
    } else if is_nameless {
        Err(Ineligible::Unnamed)
    } else {
        Err(Ineligible::Unrelated)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ineligible, Person, check, check_turn, is_enough};
    use crate::{
        frozen::{Duty, Risk, tests::call},
        settings::{Settings, Unrelated},
    };

    fn duty(approvers: &[&'static str], quorum: u32) -> Duty {
        let approvers = approvers.iter().map(|it| (*it).into()).collect();
        Duty {
            approvers,
            quorum,
            step: 1,
        }
    }

    fn person(name: &str, groups: &[&str]) -> Person {
        Person {
            id: format!("op_{name}").into(),
            name: name.into(),
            account: None,
            groups: groups.iter().map(|it| (*it).into()).collect(),
        }
    }

    #[test]
    fn every_duty_has_to_be_met() {
        let people = [
            person("ann", &["crm"]),
            person("bob", &["security"]),
            person("zoe", &["crm", "security"]),
        ];
        let cases: [(&[Duty], &[usize], bool); 9] = [
            (&[duty(&[], 1)], &[], false),
            (&[duty(&[], 1)], &[0], true),
            (&[duty(&[], 2)], &[0], false),
            (&[duty(&[], 2)], &[0, 1], true),
            // A rule that lets others approve weakens no other.
            (
                &[duty(&["group:crm"], 1), duty(&["group:security"], 1)],
                &[0],
                false,
            ),
            (
                &[duty(&["group:crm"], 1), duty(&["group:security"], 1)],
                &[0, 1],
                true,
            ),
            (
                &[duty(&["group:crm"], 1), duty(&["group:security"], 1)],
                &[2],
                true,
            ),
            (&[duty(&["group:crm"], 2), duty(&[], 1)], &[0, 1], false),
            (&[], &[0, 1, 2], false),
        ];
        for (duties, agreed, expected) in cases {
            let mut call = call();
            call.requirement.duties = duties.to_vec();
            let agreed: Vec<_> = agreed.iter().map(|at| people[*at].clone()).collect();
            assert_eq!(is_enough(&agreed, &call), expected, "{duties:?} {agreed:?}");
        }
    }

    #[test]
    fn steps_are_met_in_their_order() {
        let step = |approvers, quorum, step| Duty {
            step,
            ..duty(approvers, quorum)
        };
        let people = [
            person("ann", &["crm"]),
            person("bob", &["security"]),
            person("zoe", &["crm", "security"]),
        ];
        let two = [step(&["group:crm"], 1, 1), step(&["group:security"], 1, 2)];
        let wide = [step(&["group:crm"], 2, 1), step(&["group:security"], 1, 4)];
        // Duties, those who have agreed, in order, whether that is enough, and who may agree next.
        type Case<'a> = (&'a [Duty], &'a [usize], bool, &'a [usize]);
        let cases: [Case<'_>; 8] = [
            (&two, &[], false, &[0, 2]),
            (&two, &[0], false, &[0, 1, 2]),
            (&two, &[0, 1], true, &[0, 1, 2]),
            (&two, &[1, 0], false, &[0, 1, 2]),
            // One yes is one step, whatever else its giver may decide over.
            (&two, &[2], false, &[0, 1, 2]),
            (&two, &[2, 1], true, &[0, 1, 2]),
            (&wide, &[0], false, &[0, 2]),
            (&wide, &[0, 2, 1], true, &[0, 1, 2]),
        ];
        for (duties, agreed, is_met, next) in cases {
            let mut call = call();
            call.requirement.duties = duties.to_vec();
            let agreed: Vec<_> = agreed.iter().map(|at| people[*at].clone()).collect();
            assert_eq!(is_enough(&agreed, &call), is_met, "{duties:?} {agreed:?}");
            let may = |person| check_turn(person, &agreed, &call).is_ok();
            let turn: Vec<_> = (0..3).filter(|at| may(&people[*at])).collect();
            assert_eq!(turn, next, "{duties:?} {agreed:?}");
        }
    }

    #[test]
    fn decides_who_may_decide() {
        use Ineligible::{NotNamed, Requester, Unrelated as Incomparable};
        let ann = person("ann", &["crm"]);
        let owned = |owner: &'static str| {
            let mut call = call();
            call.caller.owner = Some(owner.into());
            call
        };
        let named = |approvers: &[&'static str]| {
            let mut call = owned("bob");
            call.requirement.duties = vec![duty(approvers, 1)];
            call
        };
        let (mut own, mut low, mut anonymous, mut issued) = (call(), call(), call(), owned("bob"));
        own.caller.subject = "ann".into();
        low.requirement.risk = Risk::Low;
        anonymous.caller.kind = "anonymous".into();
        issued.caller.owner = None;
        issued.caller.issuer = Some("https://idp.example".into());
        issued.caller.subject = "ann".into();
        let cases = [
            (owned("bob"), Ok(())),
            (owned("ann"), Err(Requester)),
            (own, Err(Requester)),
            (call(), Err(Incomparable)),
            (low, Ok(())),
            (anonymous, Ok(())),
            (issued, Err(Requester)),
            (named(&["group:crm"]), Ok(())),
            (named(&["user:ann"]), Ok(())),
            (named(&["user:zoe", "group:crm"]), Ok(())),
            (named(&["user:zoe"]), Err(NotNamed)),
            (named(&["group:ann"]), Err(NotNamed)),
            (named(&["user:crm"]), Err(NotNamed)),
            (named(&["ann"]), Err(NotNamed)),
        ];
        for (call, expected) in cases {
            assert_eq!(
                check(&ann, &call, &Settings::default(), |name| name != "nobody"),
                expected,
                "{call:?}"
            );
        }
    }

    #[test]
    fn the_admin_token_is_nobody_and_one_alone() {
        use Ineligible::{Nameless, Requester, Unnamed};
        let ann = person("ann", &["crm"]);
        let owned = |owner: &'static str| {
            let mut call = call();
            call.caller.owner = Some(owner.into());
            call
        };
        let allow = Settings {
            unrelated: Unrelated::Allow,
            ..Settings::default()
        };
        // Whoever holds the admin token, under an account of the machine and in a browser, which names none.
        let [mut bob, unnamed] = [person("bootstrap", &[]), person("bootstrap", &[])];
        bob.account = Some("bob".into());
        let (mut several, mut low, mut anonymous) = (owned("ann"), owned("ann"), call());
        several.requirement.duties = vec![duty(&[], 2)];
        low.requirement.risk = Risk::Low;
        anonymous.caller.kind = "anonymous".into();
        let cases = [
            // Caller, by account, without one, and both where `approvals.unrelated` allows it.
            (owned("bob"), Err(Requester), Err(Unnamed), Err(Requester)),
            (owned("ann"), Err(Unnamed), Err(Unnamed), Ok(())),
            (call(), Err(Unnamed), Err(Unnamed), Ok(())),
            (low, Ok(()), Ok(()), Ok(())),
            (anonymous, Ok(()), Ok(()), Ok(())),
            (several, Err(Nameless), Err(Nameless), Err(Nameless)),
        ];
        for (call, account, none, allowed) in cases {
            let settings = Settings::default();
            assert_eq!(check(&bob, &call, &settings, |_| true), account, "{call:?}");
            assert_eq!(
                check(&unnamed, &call, &settings, |_| true),
                none,
                "{call:?}"
            );
            assert_eq!(check(&bob, &call, &allow, |_| true), allowed, "{call:?}");
        }
        assert_eq!(check(&ann, &call(), &allow, |_| true), Ok(()));
        assert_eq!(check(&ann, &owned("ann"), &allow, |_| true), Err(Requester));
    }
}
