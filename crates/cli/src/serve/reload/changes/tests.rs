//! Configurations merged into those in use.

use std::path::Path;

use super::merge;
use keepgate_gateway::settings::Upstream;

use crate::config::{Configuration, from_text};

fn configuration(folder: &Path, keys: &str) -> Configuration {
    let text = format!(
        "version: 1\nservers: {{ up: {{ url: http://127.0.0.1:9/mcp }} }}\npolicies: [.]\n{keys}\n"
    );
    from_text(&text, "keepgate.yaml", folder, []).expect("a configuration")
}

#[test]
fn a_mode_that_fits_other_listeners_only_is_not_applied_to_those_in_use() {
    const OPEN: &str = "listen: 0.0.0.0:8080\nhosts: [gateway.example]";
    const TOKENS: &str = "auth: { mode: oauth, issuers: [{ issuer: https://id.example }] }";
    let folder = tempfile::tempdir().unwrap();
    for (used, new, conflict, restart) in [
        // Everybody would be let in from everywhere.
        (
            format!("{OPEN}\nauth: {{ mode: keys }}"),
            "auth: { mode: anonymous }".to_owned(),
            true,
            vec!["listen", "auth"],
        ),
        // Tokens would be for an address that nobody listens on.
        (
            TOKENS.to_owned(),
            format!("listen: 127.0.0.1:8081\n{TOKENS}"),
            true,
            vec!["listen", "auth"],
        ),
        (
            "auth: { mode: keys }".to_owned(),
            format!("listen: 127.0.0.1:8081\n{TOKENS}"),
            true,
            vec!["listen", "auth"],
        ),
        // The address clients use is written down, so the listener does not matter.
        (
            TOKENS.to_owned(),
            format!("listen: 127.0.0.1:8081\npublic_url: https://gw.example\n{TOKENS}"),
            false,
            vec!["listen"],
        ),
        (
            "auth: { mode: keys }".to_owned(),
            "auth: { mode: anonymous }".to_owned(),
            false,
            vec![],
        ),
        (
            "auth: { mode: keys }".to_owned(),
            format!("{OPEN}\nauth: {{ mode: keys }}"),
            false,
            vec!["listen"],
        ),
    ] {
        let merged = merge(
            &configuration(folder.path(), &used),
            configuration(folder.path(), &new),
        );
        assert_eq!(merged.conflict.is_some(), conflict, "{used} -> {new}");
        assert_eq!(merged.restart, restart, "{used} -> {new}");
    }
}

#[test]
fn what_needs_a_restart_keeps_the_value_in_use_and_policies_change_whole() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["other", "more"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("bundle.tar.gz"), "").unwrap();
    let used = configuration(folder.path(), "tenants: { acme: { policies: [more] } }");
    let new = "state: { dir: elsewhere }\npolicies: [other, { bundle: bundle.tar.gz }]\ntenants: { acme: { policies: [other] } }\norigins: [https://app.example]";
    let text = format!("version: 1\nservers: {{ up: {{ url: http://127.0.0.1:9/mcp }} }}\n{new}\n");
    let new = from_text(&text, "keepgate.yaml", folder.path(), []).unwrap();
    let merged = merge(&used, new);
    assert_eq!(merged.restart, ["policies", "tenants", "state.dir"]);
    let configuration = merged.configuration;
    assert_eq!(configuration.state, used.state);
    assert_eq!(configuration.policies, used.policies);
    assert_eq!(configuration.tenants, used.tenants);
    assert_eq!(configuration.bundles, used.bundles);
    assert_eq!(configuration.gateway.origins, ["https://app.example"]);
}

#[test]
fn a_vault_that_bundles_read_from_needs_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let vault = |port: u16| {
        format!(
            "credentials: {{ providers: {{ vault: {{ address: \"http://127.0.0.1:{port}\", auth: {{ token: \"file:/t\" }}, mounts: {{ secret: kv2 }} }} }} }}"
        )
    };
    let status = "status: { url: http://127.0.0.1:9, token: \"vault:secret/status#token\" }";
    for (more, restart) in [("", vec![]), (status, vec!["credentials"])] {
        let used = configuration(folder.path(), &format!("{}\n{more}", vault(8200)));
        let new = configuration(folder.path(), &format!("{}\n{more}", vault(8201)));
        assert_eq!(merge(&used, new).restart, restart, "{more}");
    }
}

/// The running gateway stands on its paths until the restart, whatever the file names now.
#[test]
fn what_the_running_gateway_stands_on_stays_hidden_from_children() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["work", "rules", "old", "new"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let read = |keys: &str| {
        let text = format!("version: 1\npolicies: [rules]\n{keys}\n");
        from_text(&text, "keepgate.yaml", folder.path(), []).expect("a configuration")
    };
    let child = "servers: { up: { command: [cat], directory: work } }";
    let hidden = |configuration: &Configuration| {
        let server = configuration.gateway.servers.values().next().unwrap();
        let Upstream::Child {
            launch: Some(launch),
            ..
        } = &server.upstream
        else {
            panic!("a child process")
        };
        launch.rules.hidden.clone()
    };
    let used = read(&format!("{child}\nstate: {{ dir: old }}"));
    let merged = merge(&used, read(&format!("{child}\nstate: {{ dir: new }}")));
    assert_eq!(merged.restart, ["state.dir"]);
    for name in ["old", "new"] {
        let hidden = hidden(&merged.configuration);
        assert!(
            hidden.iter().any(|path| path.ends_with(name)),
            "{name}: {hidden:?}"
        );
    }
    // Nothing is changed where nothing differs, so no process ends.
    let same = merge(&used, read(&format!("{child}\nstate: {{ dir: old }}")));
    assert_eq!(hidden(&same.configuration), hidden(&used));
    // A process is not given by name what is still in use.
    let given = "servers: { up: { command: [cat], directory: work, sandbox: { read: [old] } } }";
    let merged = merge(&used, read(&format!("{given}\nstate: {{ dir: new }}")));
    assert!(merged.conflict.is_some());
}

/// A link to where the listener in use answers no request would lead nowhere.
#[test]
fn links_lead_to_the_console_in_use_until_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |host: &str| {
        let keys = format!("admin: {{ public_url: 'https://{host}' }}\napprovals: {{ ttl: 1m }}");
        configuration(folder.path(), &keys)
    };
    let merged = merge(&at("old.example"), at("new.example"));
    assert_eq!(merged.restart, ["admin.public_url"]);
    let console = merged.configuration.approvals.console.unwrap();
    assert_eq!(console.origin(), "https://old.example");
    assert_eq!(merged.configuration.admin.served_hosts(), ["old.example"]);
}
