//! Every code in every shape a client can meet it in.

use keepgate_call::DecisionId;
use serde_json::Value;

use super::*;

fn refusal(code: Code) -> Refusal {
    let mut refusal = Refusal::new(code)
        .detail("detail")
        .decision(DecisionId::new(7, 7));
    refusal.reasons = vec![("hidden_rule".into(), "hidden reason".into())];
    refusal
}

fn asked(method: Method, era: Era) -> Asked {
    Asked {
        id: Id::from_text("7"),
        method: Some(method),
        subject: Some("delete".to_owned()),
        era,
    }
}

/// The code and the decision of a message, wherever they are.
fn reference_of(body: &[u8]) -> (Value, Value) {
    let message: Value = serde_json::from_slice(body).unwrap();
    let tool = message.pointer("/result/_meta/dev.keepgate~1refusal");
    let data = tool.unwrap_or_else(|| &message["error"]["data"]);
    (data["code"].clone(), data["decision_id"].clone())
}

#[tokio::test]
async fn every_refusal_names_its_code_and_its_record() {
    let expected = |code: Code| {
        let id = DecisionId::new(7, 7).to_string();
        (Value::from(code.as_str()), Value::from(id))
    };
    for code in Code::ALL {
        for era in [Era::Stateful, Era::Stateless] {
            for method in [
                Method::ToolsCall,
                Method::ToolsList,
                Method::PromptsGet,
                Method::ResourcesRead,
                Method::Initialize,
            ] {
                let asked = asked(method, era);
                let id = asked.id.clone().unwrap();
                let said = message(&refusal(*code), &asked, &id);
                assert_eq!(reference_of(&said), expected(*code), "{asked:?}");
            }
        }
        let alone = over_http(&refusal(*code)).into_body();
        let alone = keepgate_transport::body::read_capped(
            alone,
            1 << 20,
            std::time::Duration::from_secs(60),
        );
        assert_eq!(reference_of(&alone.await.unwrap()), expected(*code));
    }
}

#[test]
fn what_is_hidden_reads_as_what_does_not_exist() {
    for method in [Method::ToolsCall, Method::PromptsGet, Method::ResourcesRead] {
        let asked = asked(method, Era::Stateful);
        let id = asked.id.clone().unwrap();
        let absent = Refusal::new(Code::NotFound).decision(DecisionId::new(7, 7));
        let said = message(&refusal(Code::NotFound), &asked, &id);
        assert_eq!(said, message(&absent, &asked, &id));
    }
}
