//! What is read out of a query, and that nothing in it goes unseen.

use regorus::Value;

use super::parse;

fn parsed(text: &str) -> Value {
    parse(&[Value::from(text)]).unwrap()
}

/// The facts that count, in one line.
fn told(text: &str) -> String {
    let parsed = parsed(text);
    if parsed["ok"] != Value::Bool(true) {
        return "refused".to_owned();
    }
    let set = |key: &str| {
        let items: Vec<String> = parsed[key]
            .as_set()
            .unwrap()
            .iter()
            .map(|item| item.as_string().unwrap().to_string())
            .collect();
        items.join(" ")
    };
    let star = if parsed["star"] == Value::Bool(true) {
        " *"
    } else {
        ""
    };
    let limit = parsed["limit"]
        .as_u64()
        .map_or(String::new(), |limit| format!(" limit {limit}"));
    format!(
        "{} | {} | {} | {}{star}{limit}",
        set("objects"),
        set("relationships"),
        set("parents"),
        set("fields")
    )
}

#[test]
fn facts_are_read() {
    for (text, facts) in [
        ("SELECT Id, Name FROM Account", "account |  |  | id name"),
        (
            "select Id from Account where SSN__c = 'x' order by Salary__c limit 10",
            "account |  |  | id salary__c ssn__c limit 10",
        ),
        (
            "SELECT Id, Owner.Profile.Name FROM Case",
            "case |  | owner profile | id name",
        ),
        (
            "SELECT a.Id, a.Owner.Name FROM Account a",
            "account |  | owner | id name",
        ),
        (
            "SELECT Name, (SELECT LastName FROM Contacts LIMIT 5) FROM Account LIMIT 7",
            "account | contacts |  | lastname name limit 7",
        ),
        (
            "SELECT FIELDS(ALL) FROM Account LIMIT 200",
            "account |  |  | all * limit 200",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Opportunity WHERE Amount > 5)",
            "account opportunity |  |  | accountid amount id",
        ),
        (
            "SELECT COUNT(Id) n, toLabel(Status) FROM Case GROUP BY Status",
            "case |  |  | id status",
        ),
        ("SELECT COUNT() FROM Contact", "contact |  |  | "),
        (
            "SELECT TYPEOF What WHEN Account THEN Phone, Name ELSE Id END FROM Event",
            "account event |  |  | id name phone what",
        ),
        (
            "SELECT Id FROM Account a, a.Contacts c",
            "account | contacts |  | id",
        ),
        (
            "SELECT Id FROM Case WHERE CreatedDate = LAST_N_DAYS:30 AND x > 2020-01-01T00:00:00Z",
            "case |  |  | createddate id last_n_days x",
        ),
        (
            "SELECT Id FROM Case USING SCOPE mine WHERE Name = 'it\\'s' FOR VIEW",
            "case |  |  | id name",
        ),
        (
            "SELECT Id, Owner.Email FROM Case WHERE Id IN (SELECT CaseId FROM Contact Owner)",
            "case contact |  | owner | caseid email id",
        ),
        (
            "SELECT Id, (SELECT Owner.Email FROM Contacts) FROM Case Owner",
            "case | contacts | owner | email id",
        ),
        ("SELECT Owner.Name FROM Case; ", "case |  | owner | name"),
    ] {
        assert_eq!(told(text), facts, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for text in [
        "",
        "SELECT",
        "SELECT Id",
        "SELECT * FROM Account",
        "SELECT Id FROM Account; DELETE FROM Account",
        "SELECT Id FROM Account;;",
        "SELECT Id FROM Account -- x",
        "SELECT Id FROM Account /* x */",
        "SELECT Id FROM Account)",
        "SELECT (SELECT Id FROM Contacts FROM Account",
        "SELECT Id FROM Account SELECT Id FROM Contact",
        "SELECT Id FROM Account WHERE Name = 'open",
        "DELETE FROM Account",
        "FIND {x} IN ALL FIELDS",
        "SELECT Id FROM Account WHERE \"x\" = 1",
        "SELECT I..d FROM Account",
    ] {
        assert_eq!(told(text), "refused", "{text}");
        assert_eq!(parsed(text)["star"], Value::Bool(true));
    }
    let deep = "SELECT Id FROM A WHERE Id IN (".repeat(20);
    assert_eq!(told(&deep), "refused");
    assert_eq!(
        told(&format!("SELECT Id FROM A WHERE {}", "(".repeat(60_000))),
        "refused"
    );
}

proptest::proptest! {
    /// Whatever is read: every object named behind a `FROM` is told.
    #[test]
    fn nothing_goes_unseen(parts in proptest::collection::vec(proptest::sample::select(vec![
        "SELECT", "FROM", "Id", "Account", "Secret", "(", ")", ",", "WHERE", "IN", "'", "'x'", "a.b", "LIMIT", "5", "=",
        "TYPEOF", "WHEN", "THEN", "END", "FIELDS", "ALL", ".", ";", "\\", "AND",
    ]), 0..24)) {
        let text = parts.join(" ");
        let parsed = parse(&[Value::from(text.as_str())]).unwrap();
        if parsed["ok"] == Value::Bool(true) {
            let identifiers = parsed["identifiers"].as_set().unwrap();
            let literals = parsed["literals"].to_string();
            let named = text.to_lowercase().contains("secret");
            proptest::prop_assert!(!named || identifiers.contains(&Value::from("secret")) || literals.contains("secret") || literals.contains("Secret"));
        }
    }
}
