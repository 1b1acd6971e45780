//! Policies that change, and evaluators that are thrown away, while calls are judged.

use super::*;

#[test]
fn what_was_kept_is_put_back_without_its_files() {
    let rules = |name: &str| {
        format!("package mcp.authz\nallow contains \"x\" if input.tool.name == \"{name}\"\n")
    };
    let before = folder(&[("a.rego", &rules("old"))]);
    let after = folder(&[("a.rego", &rules("new"))]);
    let policy = Policy::load(&[before.path().to_owned()], &settings()).unwrap();
    let (caller, server) = (caller(&[]), server("s"));
    let judged = |tool| codes(&policy.judge(&facts(&caller, &server, tool)));
    let (kept, first) = (policy.keep(), policy.revision());
    let places = [after.path().to_owned()];
    assert_eq!(policy.reload_from((&places).into()).unwrap().number, 2);
    assert_eq!(judged("new"), "allow allowed");
    std::fs::write(before.path().join("a.rego"), "broken").unwrap();
    let restored = policy.restore(kept);
    assert_eq!((restored.number, restored.changed), (3, true));
    assert_eq!(
        (judged("old").as_str(), policy.revision()),
        ("allow allowed", first)
    );
    // The places are those of before as well.
    assert!(policy.reload().is_err());
    std::fs::write(before.path().join("a.rego"), rules("fixed")).unwrap();
    assert!(policy.reload().unwrap().changed);
    // Put back where nothing has changed, it changes nothing.
    let kept = policy.keep();
    assert!(!policy.restore(kept).changed);
}

#[test]
fn a_reload_swaps_whole_and_a_bad_one_changes_nothing() {
    let rules = |name: &str| {
        format!("package mcp.authz\nallow contains \"x\" if input.tool.name == \"{name}\"\n")
    };
    let folder = folder(&[("a.rego", &rules("old"))]);
    let file = folder.path().join("a.rego");
    let settings = Settings {
        workers: 2,
        ..settings()
    };
    let policy = Policy::load(&[folder.path().to_owned()], &settings).unwrap();
    let (caller, server) = (caller(&[]), server("s"));
    let judged = |tool| codes(&policy.judge(&facts(&caller, &server, tool)));
    assert_eq!(judged("old"), "allow allowed");
    let first = policy.revision();

    assert!(!policy.reload().unwrap().changed);
    let hostile = format!(
        "package mcp.authz\nallow contains \"x\" if {{ y := {} }}",
        "[".repeat(5_000)
    );
    for bad in [
        "package mcp.authz\nallow contains",
        "",
        &hostile,
        "package mcp.authz\nf(x) := f(x)\n",
    ] {
        std::fs::write(&file, bad).unwrap();
        if policy.reload().is_ok() {
            panic!("{bad:.60} was taken into force");
        }
        assert_eq!(
            (judged("old").as_str(), policy.revision()),
            ("allow allowed", Arc::clone(&first))
        );
    }

    std::fs::write(&file, rules("new")).unwrap();
    let generation = policy.reload().unwrap();
    assert_eq!(
        (generation.number, generation.changed, generation.files),
        (2, true, 1)
    );
    assert_eq!(
        (judged("old").as_str(), judged("new").as_str()),
        ("deny no_rule", "allow allowed")
    );
    assert_ne!(policy.revision(), first);
    assert_eq!(
        policy.judge(&facts(&caller, &server, "new")).revision,
        policy.revision()
    );
}

#[test]
fn threads_judge_side_by_side_through_reloads() {
    let rules = |number: usize| {
        format!("package mcp.authz\nallow contains \"x\" if input.tool.name == \"t\"\n# {number}\n")
    };
    let folder = folder(&[("a.rego", &rules(0))]);
    let settings = Settings {
        workers: 2,
        ..settings()
    };
    let policy = Policy::load(&[folder.path().to_owned()], &settings).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (caller, server) = (caller(&[]), server("s"));
                for _ in 0..300 {
                    assert_eq!(
                        codes(&policy.judge(&facts(&caller, &server, "t"))),
                        "allow allowed"
                    );
                    assert_eq!(
                        codes(&policy.judge(&facts(&caller, &server, "u"))),
                        "deny no_rule"
                    );
                }
            });
        }
        for number in 1..6 {
            std::fs::write(folder.path().join("a.rego"), rules(number)).unwrap();
            assert!(policy.reload().unwrap().changed);
        }
    });
}

#[test]
fn an_evaluator_that_panicked_is_not_used_again() {
    let policy = policy("package mcp.authz\nallow contains \"x\" if input.tool.name == \"t\"\n");
    let layers = policy.current.load_full();
    let layer = layers.platform.as_ref().unwrap();
    let waiting = || layer.waiting();
    assert_eq!(waiting(), 1);
    for _ in 0..3 {
        let failed: Result<(), &str> = layer.with_warm(|_| Err(Reason::POLICY_PANIC));
        assert_eq!((failed, waiting()), (Err(Reason::POLICY_PANIC), 0));
    }
    let (caller, server) = (caller(&[]), server("s"));
    assert_eq!(
        codes(&policy.judge(&facts(&caller, &server, "t"))),
        "allow allowed"
    );
}
