//! The configuration of imported servers, as text.

use std::path::Path;

use super::entry::{Reach, Server};
use super::secrets::{Form, Origin, Secret};

/// A server and its names.
#[derive(Debug)]
pub(crate) struct Named {
    /// Name in the configuration.
    pub(crate) name: String,
    /// Name in the client's file.
    pub(crate) written: String,
    pub(crate) server: Server,
    /// Names of the files its secrets go to, in their order; empty for those that are somewhere else already.
    pub(crate) files: Vec<String>,
}

/// The whole file. `secrets` is the directory of the secrets, absolute.
pub(crate) fn document(servers: &[Named], policies: &str, secrets: &Path) -> String {
    let mut text = format!(
        "version: 1\npolicies: [{}]\nauth: {{ mode: keys }}\nservers:\n",
        scalar(policies)
    );
    for server in servers {
        entry(&mut text, server, secrets);
    }
    text
}

fn entry(text: &mut String, named: &Named, secrets: &Path) {
    let list = |values: &mut dyn Iterator<Item = &str>| {
        let values: Vec<String> = values.map(scalar).collect();
        format!("[{}]", values.join(", "))
    };
    let map = |values: &mut dyn Iterator<Item = (&str, &str)>| {
        let values: Vec<String> = values
            .map(|(name, value)| format!("{}: {}", scalar(name), scalar(value)))
            .collect();
        format!("{{ {} }}", values.join(", "))
    };
    let mut lines: Vec<(&str, String)> = Vec::new();
    match &named.server.reach {
        Reach::Command {
            command,
            env,
            variables,
            directory,
        } => {
            lines.push(("command", list(&mut command.iter().map(String::as_str))));
            if !env.is_empty() {
                let mut pairs = env
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()));
                lines.push(("env", map(&mut pairs)));
            }
            if !variables.is_empty() {
                lines.push(("variables", list(&mut variables.iter().map(String::as_str))));
            }
            if let Some(directory) = directory {
                lines.push(("directory", scalar(&directory.display().to_string())));
            }
        }
        Reach::Url { form, url, headers } => {
            lines.push((form, scalar(url)));
            if !headers.is_empty() {
                let mut pairs = headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()));
                lines.push(("headers", map(&mut pairs)));
            }
        }
    }
    let files = named.files.iter();
    let credentials = named.server.secrets.iter().zip(files);
    let credentials: Vec<String> = credentials
        .map(|(secret, file)| credential(secret, &secrets.join(file)))
        .collect();
    match credentials.as_slice() {
        [] => {}
        [one] => lines.push(("credential", one.clone())),
        several => {
            let several = several.iter().map(|one| format!("\n      - {one}"));
            lines.push(("credentials", several.collect()));
        }
    }
    text.push_str(&format!("  {}:\n", scalar(&named.name)));
    for (key, value) in lines {
        let space = if value.starts_with('\n') { "" } else { " " };
        text.push_str(&format!("    {key}:{space}{value}\n"));
    }
}

fn credential(secret: &Secret, file: &Path) -> String {
    let reference = match &secret.origin {
        Origin::Variable(name) => format!("env:{name}"),
        Origin::Text(_) | Origin::Input(_) => format!("file:{}", file.display()),
    };
    let more = match &secret.form {
        Form::Bearer => "as: bearer".to_owned(),
        Form::Header(name) => format!("as: header, name: {}", scalar(name)),
        Form::Basic(user) => format!("as: basic, user: {}", scalar(user)),
        Form::Query(name) => format!("as: query, name: {}, in_url: true", scalar(name)),
        Form::Environment(name) => format!("as: environment, name: {}", scalar(name)),
    };
    format!("{{ ref: {}, {more} }}", quoted(&reference))
}

/// A text as it is where no reader could take it for something else, else in double quotes.
pub(crate) fn scalar(text: &str) -> String {
    let first = text
        .trim_start_matches("--")
        .trim_start_matches('-')
        .bytes()
        .next();
    let first = first.is_some_and(|byte| byte.is_ascii_alphabetic() || b"./".contains(&byte))
        && !text.starts_with("---");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    let is_word = matches!(
        text.to_ascii_lowercase().as_str(),
        "null"
            | "true"
            | "false"
            | "yes"
            | "no"
            | "on"
            | "off"
            | "y"
            | "n"
            | ".inf"
            | ".nan"
            | "..."
    );
    if first && !is_word && text.bytes().all(plain) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A text in double quotes, with an escape for whatever a reader of YAML could take for something else.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            ' '..='~' => quoted.push(letter),
            letter if letter.is_alphanumeric() => quoted.push(letter),
            letter => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(letter)));
            }
        }
    }
    quoted.push('"');
    quoted
}
