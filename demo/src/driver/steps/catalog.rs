//! Resources, templates, prompts, completion.

use rmcp::ServiceError;
use rmcp::model::{ErrorCode, GetPromptRequestParams, ReadResourceRequestParams, ResourceContents};
use serde_json::json;

use super::super::Session;
use super::super::report::{StepError, expect};
use super::Ended;
use crate::connect::Era;

pub(crate) async fn resources(session: &Session) -> Ended {
    let all = session.client.list_all_resources().await?;
    let uris: Vec<&str> = all.iter().map(|resource| resource.uri.as_str()).collect();
    let wanted = [
        "fixture://static/alpha",
        "fixture://static/beta",
        "fixture://static/gamma",
    ];
    expect(
        uris == wanted,
        format!("over two pages: {}", uris.join(" ")),
    )
}

pub(crate) async fn templates(session: &Session) -> Ended {
    let all = session.client.list_all_resource_templates().await?;
    let uris: Vec<&str> = all
        .iter()
        .map(|template| template.uri_template.as_str())
        .collect();
    expect(uris == ["fixture://items/{id}"], uris.join(" "))
}

pub(crate) async fn read(session: &Session) -> Ended {
    let mut texts = Vec::new();
    for uri in ["fixture://static/alpha", "fixture://items/42"] {
        let result = session
            .client
            .read_resource(ReadResourceRequestParams::new(uri))
            .await?;
        for contents in result.contents {
            if let ResourceContents::TextResourceContents { text, .. } = contents {
                texts.push(text);
            }
        }
    }
    expect(
        texts == ["This is alpha.", "This is item 42."],
        texts.join(" "),
    )
}

pub(crate) async fn read_unknown(session: &Session) -> Ended {
    let wanted = match session.era {
        Era::Stateful => ErrorCode::RESOURCE_NOT_FOUND,
        Era::Stateless => ErrorCode::INVALID_PARAMS,
    };
    let request = ReadResourceRequestParams::new("fixture://static/omega");
    match session.client.read_resource(request).await {
        Err(ServiceError::McpError(error)) => expect(
            error.code == wanted,
            format!("{} {}", error.code.0, error.message),
        ),
        Err(error) => Err(error.into()),
        Ok(_) => Err(StepError::Unexpected("it was there".to_owned())),
    }
}

pub(crate) async fn prompts(session: &Session) -> Ended {
    let all = session.client.list_all_prompts().await?;
    let names: Vec<&str> = all.iter().map(|prompt| prompt.name.as_str()).collect();
    expect(names == ["plain", "greet"], names.join(" "))
}

pub(crate) async fn prompt(session: &Session) -> Ended {
    let arguments = crate::reply::object(json!({ "name": "Ada" }));
    let request = GetPromptRequestParams::new("greet").with_arguments(arguments);
    let result = session.client.get_prompt(request).await?;
    let text = result
        .messages
        .first()
        .and_then(|message| message.content.as_text())
        .map(|content| content.text.clone())
        .unwrap_or_default();
    expect(text == "Hello, Ada.", text)
}

pub(crate) async fn completion(session: &Session) -> Ended {
    let of_prompt = session
        .client
        .complete_prompt_simple("greet", "name", "al")
        .await?;
    let of_resource = session
        .client
        .complete_resource_simple("fixture://items/{id}", "id", "g")
        .await?;
    expect(
        of_prompt == ["alpha"] && of_resource == ["gamma"],
        format!("{of_prompt:?} {of_resource:?}"),
    )
}
