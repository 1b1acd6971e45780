//! Commands that change who may call and who may operate, killed at any of their operations on the disk: what was there
//! stays, what they began is there whole or not at all, and the next command works.

use serde_json::Value;

use super::super::gate::Home;
use super::Shim;

/// A command, and the list that shows its effect.
struct Case {
    words: &'static [&'static str],
    list: &'static str,
    /// Names that are in the list before, and after the command was done.
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const CASES: [Case; 4] = [
    Case {
        words: &["keys", "create", "--subject", "new"],
        list: "keys",
        before: &["old"],
        after: &["old", "new"],
    },
    Case {
        words: &["keys", "revoke", "ID"],
        list: "keys",
        before: &["old"],
        after: &[],
    },
    Case {
        words: &["operators", "add", "new", "--role", "sre"],
        list: "operators",
        before: &["old"],
        after: &["old", "new"],
    },
    Case {
        words: &["operators", "revoke", "old"],
        list: "operators",
        before: &["old"],
        after: &[],
    },
];

/// A home with a key and an operator called `old`; the id of the key.
async fn home() -> (Home, String) {
    let home = Home::new().keys().url("up", "http://127.0.0.1:9/mcp");
    let (id, _) = home.key("old").await;
    let words = ["operators", "add", "old", "--role", "sre"];
    home.keepgate(&words).await.good();
    (home, id)
}

/// The active ones of a list.
async fn active(home: &Home, list: &str) -> Vec<String> {
    let report = home.keepgate(&[list, "list"]).await;
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let report = report.json();
    let entries = report[list].as_array().expect("a list").iter();
    let active = entries.filter(|entry| entry["revoked"].is_null());
    let name = |entry: &Value| {
        let name = entry["subject"].as_str().or_else(|| entry["name"].as_str());
        name.expect("a name").to_owned()
    };
    active.map(name).collect()
}

async fn run(home: &Home, shim: &Shim, words: &[&str]) -> Option<i32> {
    let (name, value) = shim.environment();
    home.keepgate_with(words, &[(name, &value)]).await.code
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_killed_at_any_operation_leave_all_or_nothing() {
    for case in CASES {
        let words = |id: &str| -> Vec<String> {
            let words = case.words.iter();
            words.map(|word| word.replace("ID", id)).collect()
        };
        let operations = {
            let (home, id) = home().await;
            let words = words(&id);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let shim = Shim::new(&home);
            shim.trace();
            assert_eq!(run(&home, &shim, &words).await, Some(0));
            assert_eq!(active(&home, case.list).await, case.after);
            shim.traced().len()
        };
        assert!(operations >= 3, "{:?}: {operations}", case.words);
        let mut undone = 0;
        for operation in 1..=operations {
            let (home, id) = home().await;
            let words = words(&id);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let shim = Shim::new(&home);
            shim.obey(&format!("any state {operation} kill\n"));
            let at = format!("{:?} killed at operation {operation}", case.words);
            assert_eq!(run(&home, &shim, &words).await, None, "{at}");
            let found = active(&home, case.list).await;
            let whole = found == case.before || found == case.after;
            assert!(whole, "{at}: {found:?}");
            if found == case.before {
                undone += 1;
                assert_eq!(home.keepgate(&words).await.code, Some(0), "{at}");
                assert_eq!(active(&home, case.list).await, case.after, "{at}");
            }
        }
        assert!(undone > 0, "{:?}: every kill came too late", case.words);
    }
}
