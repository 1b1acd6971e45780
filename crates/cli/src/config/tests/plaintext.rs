//! Secrets that would be sent over http to another machine.

use super::{SMALL, good, read};

/// A vault whose address is this.
fn vault(address: &str, more: &str) -> String {
    format!(
        "credentials: {{ providers: {{ vault: {{ address: \"{address}\", auth: {{ token: \"file:/t\" }}, mounts: {{ secret: kv2 }}{more} }} }} }}\n"
    )
}

/// Whole files, each with one secret that goes to this host; `{more}` is where the key may be.
fn ways(scheme: &str, host: &str, more: &str) -> Vec<(&'static str, String)> {
    let url = format!("{scheme}://{host}");
    let server = |credential: &str| {
        format!(
            "version: 1\nservers: {{ crm: {{ url: \"{url}/mcp\", credential: {credential}{more} }} }}\npolicies: [./policies]\n"
        )
    };
    let bearer = |reference: &str| server(&format!("{{ ref: \"{reference}\", as: bearer }}"));
    vec![
        ("servers.crm", bearer("file:/run/secrets/crm")),
        ("servers.crm", bearer("env:CRM_TOKEN")),
        (
            "servers.crm",
            bearer("vault:secret/crm#token") + &vault("https://vault.example", ""),
        ),
        (
            "servers.crm",
            server("{ ref: \"file:/s\", as: header, name: x-key }"),
        ),
        (
            "servers.crm",
            server("{ ref: \"file:/s\", as: basic, user: keepgate }"),
        ),
        (
            "servers.crm",
            server("{ ref: \"file:/s\", as: query, name: key, in_url: true }"),
        ),
        (
            "credentials.providers.vault",
            format!("{SMALL}{}", vault(&url, more)),
        ),
        (
            "status",
            format!("{SMALL}status: {{ url: \"{url}\", token: \"file:/t\"{more} }}\n"),
        ),
        (
            "decisions.upload",
            format!(
                "{SMALL}decisions: {{ upload: {{ url: \"{url}\", token: \"file:/t\"{more} }} }}\n"
            ),
        ),
    ]
}

#[test]
fn no_secret_is_sent_in_clear_unless_that_is_allowed() {
    let allowed = ", plaintext: allowed";
    for host in [
        "crm.example",
        "192.0.2.1:8080",
        "[2001:db8::1]",
        "localhost.example",
        "0.0.0.0",
    ] {
        for (section, text) in ways("http", host, "") {
            let report = read(&text, &[]).expect_err(&text);
            assert!(
                report.contains("a secret would travel in clear"),
                "{report}"
            );
            assert!(
                report.contains(&format!("`{section}.plaintext: allowed`")),
                "{report}"
            );
        }
        for (section, text) in ways("http", host, allowed) {
            let configuration = good(&text);
            assert_eq!(configuration.plaintext, [section], "{text}");
            let mut warnings = configuration.warnings.iter();
            assert!(warnings.any(|it| it.starts_with(&format!("{section}.plaintext is allowed"))));
        }
    }
    for (scheme, host) in [
        ("https", "crm.example"),
        ("http", "127.0.0.1:8080"),
        ("http", "[::1]"),
        ("http", "LocalHost"),
    ] {
        for (_, text) in ways(scheme, host, "")
            .into_iter()
            .chain(ways(scheme, host, allowed))
        {
            assert_eq!(good(&text).plaintext, Vec::<String>::new(), "{text}");
        }
    }
    // Without a secret there is none to read.
    let bare =
        "version: 1\nservers: { crm: { url: http://crm.example/mcp } }\npolicies: [./policies]\n";
    assert_eq!(good(bare).plaintext, Vec::<String>::new());
}

#[test]
fn the_headers_of_a_collector_are_secrets_too() {
    let endpoint = "telemetry: { otlp: { endpoint: \"http://collector.example:4318\" } }\n";
    let text = format!("{SMALL}{endpoint}");
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret");
    assert!(read(&text, &[]).is_ok());
    let report = read(&text, &[headers]).expect_err("headers in clear");
    assert!(
        report.contains("`telemetry.plaintext: allowed`"),
        "{report}"
    );
    assert!(!report.contains("api-key"), "{report}");
    let allowed = text.replace("telemetry: {", "telemetry: { plaintext: allowed,");
    let configuration = read(&allowed, &[headers]).expect("a configuration");
    assert_eq!(configuration.plaintext, ["telemetry"]);
    let here = text.replace("collector.example", "127.0.0.1");
    assert!(read(&here, &[headers]).is_ok());
}

#[test]
fn plaintext_goes_with_a_url_and_has_one_word() {
    for (text, message) in [
        (
            "files: { command: [files], plaintext: allowed }",
            "has `plaintext`, which goes with `url` only",
        ),
        (
            "crm: { url: http://crm.example/mcp, plaintext: true }",
            "expected one of allowed, found `true`",
        ),
    ] {
        let text = format!("version: 1\nservers: {{ {text} }}\npolicies: [./policies]\n");
        let report = read(&text, &[]).expect_err("a fault");
        assert!(report.contains(message), "{report}");
    }
}
