//! Wrong files and the exact report each one gets, in `golden/config_errors.txt`. Run with `UPDATE_EXPECT=1` after
//! changing a message, and read the difference as the operator would.

use expect_test::expect_file;

use super::*;

/// What it shows, the file, variables that are set.
type Case = (
    &'static str,
    String,
    &'static [(&'static str, &'static str)],
);

#[test]
fn reports_are_as_reviewed() {
    let groups = [
        whole_files(),
        yaml(),
        listeners(),
        names(),
        consoles(),
        servers(),
        expanded(),
        requests(),
        confined(),
        egress(),
        proxies_of_variables(),
        credentials(),
        several_credentials(),
        places_of_credentials(),
        values(),
        variables(),
    ];
    let mut golden = String::new();
    for (title, text, variables) in groups.into_iter().flatten() {
        let report = match read(&text, variables) {
            Ok(_) => panic!("{title}: accepted"),
            Err(report) => report,
        };
        golden.push_str(&format!("=== {title} ===\n{report}\n\n"));
    }
    expect_file!["../../../golden/config_errors.txt"].assert_eq(&golden);
}

/// [`SMALL`] with a line more.
fn with(line: &str) -> String {
    format!("{SMALL}{line}\n")
}

/// The way out.
fn egress() -> Vec<Case> {
    let of_server = |keys: &str| SMALL.replace("example/mcp }", &format!("example/mcp, {keys} }}"));
    let password = "credential: { ref: env:PROXY, user: gw }";
    vec![
        ("egress: not a map", with("egress: none"), &[]),
        ("egress: nothing", with("egress: {}"), &[]),
        ("egress: a word", with("egress: { proxy: direct }"), &[]),
        (
            "egress: another protocol",
            with("egress: { proxy: 'socks5://proxy.example:1080' }"),
            &[],
        ),
        (
            "egress: a password in the address",
            with("egress: { proxy: 'http://gw:secret@proxy.example:3128' }"),
            &[],
        ),
        (
            "egress: a password in clear",
            with(&format!(
                "egress: {{ proxy: 'http://proxy.example:3128', {password} }}"
            )),
            &[],
        ),
        (
            "egress: a password in a vault, a user with a colon",
            with(
                "egress: { proxy: 'http://127.0.0.1:3128', credential: { ref: 'vault:secret/a#b', user: 'a:b' } }",
            ),
            &[],
        ),
        (
            "egress: no_proxy",
            with(
                "egress: { proxy: 'http://127.0.0.1:3128', no_proxy: ['https://a.example', 10.0.0.1/8] }",
            ),
            &[],
        ),
        (
            "egress: none with more",
            with(&format!(
                "egress: {{ proxy: none, no_proxy: [a.example], {password} }}"
            )),
            &[],
        ),
        (
            "egress: of a server",
            of_server("egress: { proxy: nowhere }, tls: { client_key: cert.pem }"),
            &[],
        ),
    ]
}

/// A proxy that variables name.
fn proxies_of_variables() -> Vec<Case> {
    let password = "credential: { ref: env:PROXY, user: gw }";
    vec![
        (
            "egress: variables that disagree",
            with("egress: { proxy: env }"),
            &[
                ("HTTPS_PROXY", "http://a.example:3128"),
                ("https_proxy", "http://b.example:3128"),
            ],
        ),
        (
            "egress: a variable with another protocol",
            with("egress: { proxy: env }"),
            &[("ALL_PROXY", "socks5://gw:secret@a.example:1080")],
        ),
        (
            "egress: a variable with a password in clear",
            with("egress: { proxy: env }"),
            &[("HTTPS_PROXY", "http://gw:secret@a.example:3128")],
        ),
        (
            "egress: two users",
            with(&format!(
                "egress: {{ proxy: env, {password}, plaintext: allowed }}"
            )),
            &[("HTTPS_PROXY", "gw:secret@a.example:3128")],
        ),
    ]
}

fn whole_files() -> Vec<Case> {
    let several = "\
version: 2
lisen: 127.0.0.1:8080
servers:
  crm: { ulr: https://crm.example/mcp, timeouts: { conect: 5s, request: 5 } }
  Files: { command: npx }
policies: ./policies
auth: { mode: anonymus }
limits:
  body: 1MB
  depth: 0
  header-timeout: 3s
";
    vec![
        ("all errors are told at once", several.to_owned(), &[]),
        ("bundles", BUNDLES.to_owned(), &[]),
        ("empty file", String::new(), &[]),
        ("comment only", "# nothing\n".to_owned(), &[]),
        ("no map", "just words\n".to_owned(), &[]),
        ("keys missing", "version: 1\n".to_owned(), &[]),
        (
            "nothing in them",
            "version: 1\nservers: {}\npolicies: []\nlisten: []\n".to_owned(),
            &[],
        ),
        (
            "no values",
            "version: '1'\nservers:\npolicies:\n".to_owned(),
            &[],
        ),
    ]
}

/// What YAML has and we do not read.
fn yaml() -> Vec<Case> {
    let hostile = format!("{SMALL}\"\\e[31m\u{202e}key\": {}\n", "x".repeat(300));
    let nested = format!("hosts: {}x{}", "[".repeat(40), "]".repeat(40));
    vec![
        (
            "anchor and alias",
            with("hosts: &names [a.example]\norigins: *names"),
            &[],
        ),
        ("tag", with("hosts: !!set [a.example]"), &[]),
        ("second document", with("---\nversion: 1"), &[]),
        ("key twice", with("version: 1"), &[]),
        ("key that is no word", with("? [a, b]\n: c"), &[]),
        ("too deep", with(&nested), &[]),
        ("broken", with("hosts: [a.example\nlog: {}"), &[]),
        ("merge key", with("log: { <<: { level: info } }"), &[]),
        ("tab", "version: 1\n\tservers: {}\n".to_owned(), &[]),
        (
            "a hostile file does not write to the terminal",
            hostile,
            &[],
        ),
    ]
}

const OAUTH: &str = "\
auth:
  mode: oauth
  scopes: ['crm read']
  issuers:
    - issuer: http://idp.example
    - issuer: https://admin:hunter2@idp.example
    - audience: api://gateway
    - issuer: https://idp.example
      jwks_uri: http://idp.example/keys
      typ: at-jwt
      algorithms: [HS256, none, ES256K]
      tenant: ACME
      tls: { ca: gone.pem }
    - issuer: https://idp.example
      algorithms: []
      introspection: true
";

/// Bundles in every wrong form.
const BUNDLES: &str = "\
version: 1
servers:
  crm: { url: https://crm.example/mcp }
policies:
  - [a]
  - { bundel: x }
  - { bundle: gone.tar.gz, poll: { min: 1s }, credential: { ref: env:X }, tls: {} }
  - { bundle: s3://policies/a.tar.gz }
  - { bundle: https://user:hunter2@policies.example/a.tar.gz }
  - { bundle: http://policies.example/a.tar.gz, credential: { ref: hunter2 } }
  - { bundle: http://policies.example/a.tar.gz, credential: { ref: env:X }, verify: [] }
  - { bundle: https://policies.example/a.tar.gz, poll: { min: 30s, max: 20s, wait: 1h } }
  - bundle: https://policies.example/a.tar.gz
    poll: { min: 1ms }
    verify:
      - { key: cert.pem, algorithm: ES256 }
      - { key: gone.pem, algorithm: ES512, id: a }
      - { algorithm: none }
tenants:
  acme: { policies: [{ bundle: ftp://x/y, verify: { key: key.pem, algorithm: HS256 } }] }
";

fn listeners() -> Vec<Case> {
    let open = "listen: ['127.0.0.1:1', '0.0.0.0:2', '[::]:3']\nauth: { mode: anonymous }";
    vec![
        ("name for an address", with("listen: localhost:8080"), &[]),
        (
            "networks of proxies",
            with("trusted_proxies: [10.0.0.1/8, proxy.example, 10.0.0.0/33]"),
            &[],
        ),
        ("port without address", with("listen: :8080"), &[]),
        ("only a port", with("listen: 8080"), &[]),
        (
            "address twice",
            with("listen: ['127.0.0.1:1', '127.0.0.1:1']"),
            &[],
        ),
        (
            "both planes on one address",
            with("listen: 127.0.0.1:9080"),
            &[],
        ),
        (
            "open to names nobody gave",
            with("listen: 0.0.0.0:8080"),
            &[],
        ),
        ("anonymous and open", with(open), &[]),
        (
            "certificate without key",
            with("tls: { certificate: cert.pem }"),
            &[],
        ),
        (
            "key that is not there",
            with("tls: { certificate: cert.pem, key: kay.pem }"),
            &[],
        ),
    ]
}

fn consoles() -> Vec<Case> {
    vec![
        (
            "console below a path",
            with("admin: { public_url: https://example.org/console }"),
            &[],
        ),
        (
            "console over http on another machine",
            with("admin: { public_url: http://console.example }"),
            &[],
        ),
        (
            "console over http on a listener with TLS",
            with(
                "admin: { public_url: 'http://127.0.0.1:9080', tls: { certificate: keepgate.yaml, key: keepgate.yaml } }",
            ),
            &[],
        ),
        (
            "certificate of the console without key",
            with("admin: { tls: { certificate: cert.pem } }"),
            &[],
        ),
        (
            "console URL with a password",
            with("admin: { public_url: 'https://kim:secret@console.example' }"),
            &[],
        ),
    ]
}

fn names() -> Vec<Case> {
    vec![
        (
            "public URL with a path that has several spellings",
            with("public_url: https://gw.example/a//b"),
            &[],
        ),
        (
            "public URL with a query",
            with("public_url: https://gw.example/base?a=b"),
            &[],
        ),
        (
            "public URL with a path of metadata",
            with("public_url: https://gw.example/.well-known/x"),
            &[],
        ),
        (
            "public URL without scheme",
            with("public_url: gw.example"),
            &[],
        ),
        (
            "hosts",
            with("hosts: ['https://gw.example', '*', 'a b', '@x']"),
            &[],
        ),
        (
            "origins",
            with("origins: ['*', 'null', app.example, 'https://app.example/']"),
            &[],
        ),
        ("server in capitals", SMALL.replace("crm:", "CRM:"), &[]),
        (
            "server with a reserved name",
            SMALL.replace("crm:", "t:"),
            &[],
        ),
    ]
}

/// [`SMALL`] with another server.
fn file(server: &str) -> String {
    SMALL.replace("{ url: https://crm.example/mcp }", server)
}

fn confined() -> Vec<Case> {
    vec![
        (
            "sandbox that is a word",
            file("{ command: [cat], sandbox: on }"),
            &[],
        ),
        (
            "sandbox with the gateway's own",
            file(
                "{ command: [cat], sandbox: { read: [keepgate-state/audit], write: [keepgate.yaml, docs] } }",
            ),
            &[],
        ),
        (
            "port that is none",
            file("{ command: [cat], sandbox: { network: [443, https] } }"),
            &[],
        ),
        (
            "network on an older kernel",
            file("{ command: [cat], sandbox: { network: [443] } }"),
            &[("KEEPGATE_LANDLOCK_ABI", "2")],
        ),
        (
            "no sandbox in the kernel",
            file("{ command: [cat] }"),
            &[("KEEPGATE_LANDLOCK_ABI", "0")],
        ),
        (
            "a list and no sandbox in the kernel",
            file("{ command: [cat], sandbox: { read: [docs] } }"),
            &[("KEEPGATE_LANDLOCK_ABI", "0")],
        ),
        (
            "user that nobody is",
            file("{ command: [cat], user: no-such-user }"),
            &[],
        ),
        (
            "a list for a URL",
            file("{ url: https://a.example/mcp, sandbox: off, user: root }"),
            &[],
        ),
    ]
}

/// `${NAME}` in the values of child processes.
fn expanded() -> Vec<Case> {
    vec![
        (
            "variables of a server",
            file(
                "{ command: ['${HOME}', '${A:-b}', '${GONE}'], variables: [HOME, GONE, KEEPGATE_CONFIG, 'a b'], env: { A: '${B', C: '${OTHER}' } }",
            ),
            &[
                ("HOME", "/home/a"),
                ("OTHER", "x"),
                ("KEEPGATE_CONFIG", "x"),
            ],
        ),
        (
            "a secret in a command line",
            file("{ command: [cat, '--key=${API_KEY}'], variables: [API_KEY] }"),
            &[("API_KEY", "hunter2")],
        ),
        (
            "variables with a URL",
            file("{ url: https://a.example/mcp, variables: [HOME] }"),
            &[("HOME", "/home/a")],
        ),
    ]
}

fn servers() -> Vec<Case> {
    vec![
        ("server without address", file("{}"), &[]),
        (
            "server with two",
            file("{ url: https://a.example/mcp, command: [cat] }"),
            &[],
        ),
        (
            "server with two URLs",
            file("{ url: https://a.example/mcp, sse: https://a.example/sse }"),
            &[],
        ),
        (
            "server over HTTP+SSE with keys of a process",
            file("{ sse: ftp://a.example/sse, env: { A: b }, idle: 5m }"),
            &[],
        ),
        (
            "child's keys with a URL",
            file("{ url: https://a.example/mcp, env: { A: b }, shared: true }"),
            &[],
        ),
        (
            "URL's keys with a child",
            file("{ command: [cat], tls: { ca: cert.pem } }"),
            &[],
        ),
        ("empty command", file("{ command: [] }"), &[]),
        ("command in one piece", file("{ command: cat }"), &[]),
        (
            "directory that is not there",
            file("{ command: [cat], directory: nowhere, shared: yes }"),
            &[],
        ),
        (
            "secrets of a child are not shown",
            file("{ command: [cat], env: { 'A=B': secret, C: [secret], D: } }"),
            &[],
        ),
        ("scheme", file("{ url: ftp://a.example/mcp }"), &[]),
        (
            "password in the URL is not shown",
            file("{ url: 'https://user:secret@a.example/mcp' }"),
            &[],
        ),
        (
            "query in the URL is not shown",
            file("{ url: 'https://a.example/mcp?key=secret' }"),
            &[],
        ),
        ("fragment", file("{ url: 'https://a.example/mcp#x' }"), &[]),
        (
            "certificate without TLS",
            file("{ url: 'http://127.0.0.1/mcp', tls: { ca: cert.pem } }"),
            &[],
        ),
        ("server that is no map", file("https://a.example/mcp"), &[]),
    ]
}

/// Additions to every request.
fn requests() -> Vec<Case> {
    vec![
        (
            "secrets in parameters and header lines are not shown",
            file(
                "{ url: 'https://a.example/mcp', query: { api_key: secret }, headers: { X-Auth-Token: secret } }",
            ),
            &[],
        ),
        (
            "header lines of the gateway",
            file(
                "{ url: 'https://a.example/mcp', headers: { Mcp-Session-Id: a, Accept: b, Forwarded: c, 'a b': d, E: 'Grüße' } }",
            ),
            &[],
        ),
        (
            "parameters and header lines of a child",
            file("{ command: [cat], query: { a: b }, headers: { A: b } }"),
            &[],
        ),
    ]
}

/// What servers are told by way of secrets, and keys that no version has yet.
fn credentials() -> Vec<Case> {
    vec![
        (
            "secret in place of a reference is not shown",
            file(
                "{ url: https://a.example/mcp, credential: { ref: sk-live-0123456789, as: bearer } }",
            ),
            &[],
        ),
        (
            "reference without a vault",
            file(
                "{ url: https://a.example/mcp, credential: { ref: 'vault:secret/a#b', as: bearer } }",
            ),
            &[],
        ),
        (
            "secret in the URL",
            file(
                "{ url: https://a.example/mcp, credential: { ref: env:A, as: query, name: key } }",
            ),
            &[],
        ),
        (
            "header for a child process",
            file("{ command: [cat], credential: { ref: env:A, as: bearer } }"),
            &[],
        ),
        (
            "key of a later version",
            file("{ url: https://a.example/mcp, pins: {} }"),
            &[],
        ),
        ("no login to the vault", vault("{}"), &[]),
        (
            "two logins to the vault",
            vault("{ token: env:A, jwt: { role: keepgate, token: env:B } }"),
            &[],
        ),
        (
            "login to the vault by what is in it",
            vault("{ jwt: { role: '', token: 'vault:secret/a#b', mount: '/jwt' } }"),
            &[],
        ),
        (
            "wrapping of what no vault made",
            vault("{ jwt: { role: keepgate, token: env:A }, wrapped_by: auth/token/create }"),
            &[],
        ),
        (
            "wrapping by a URL",
            vault("{ token: env:A, wrapped_by: https://vault.example/v1/auth/token/create }"),
            &[],
        ),
    ]
}

/// Servers with several credentials.
fn several_credentials() -> Vec<Case> {
    let several = |keys: &str| file(&format!("{{ url: https://a.example/mcp, {keys} }}"));
    let too_many: Vec<String> = (0..17)
        .map(|number| format!("{{ ref: env:A{number}, as: header, name: x-{number} }}"))
        .collect();
    let too_many = format!("credentials: [{}]", too_many.join(", "));
    vec![
        (
            "both forms of credentials",
            several(
                "credential: { ref: env:A, as: bearer }, credentials: [{ ref: env:B, as: header, name: x-b }]",
            ),
            &[],
        ),
        ("no credentials", several("credentials: []"), &[]),
        (
            "one of the credentials is wrong",
            several(
                "credentials: [{ ref: env:A, as: bearer }, { ref: sk-live-0123456789, as: header, name: x-b }, { ref: env:C, as: environment, name: C }]",
            ),
            &[],
        ),
        ("too many credentials", several(&too_many), &[]),
    ]
}

/// Credentials in places that are filled already.
fn places_of_credentials() -> Vec<Case> {
    let several = |keys: &str| file(&format!("{{ url: https://a.example/mcp, {keys} }}"));
    let leases = several(
        "credentials: [{ ref: 'vault:aws/creds/mcp#access_key', as: header, name: x-id }, { ref: 'vault:aws/creds/mcp#secret_key', as: header, name: x-key }]",
    ) + "credentials: { providers: { vault: { address: https://vault.example:8200, mounts: { aws: leased }, auth: { token: env:A } } } }\n";
    vec![
        (
            "credentials in one header",
            several(
                "credentials: [{ ref: env:A, as: bearer }, { ref: env:B, as: basic, user: svc }, { ref: env:C, as: header, name: Authorization }]",
            ),
            &[],
        ),
        (
            "credentials in one parameter",
            several(
                "credentials: [{ ref: env:A, as: query, name: k, in_url: true }, { ref: env:B, as: query, name: k, in_url: true }]",
            ),
            &[],
        ),
        (
            "credential in a header of `headers`",
            several(
                "headers: { X-Region: eu }, credential: { ref: env:A, as: header, name: x-region }",
            ),
            &[],
        ),
        (
            "credential in a parameter of `query`",
            several(
                "query: { k: a }, credential: { ref: env:A, as: query, name: k, in_url: true }",
            ),
            &[],
        ),
        (
            "credential in a parameter of the URL",
            file(
                "{ url: 'https://a.example/mcp?%6b=a', credential: { ref: env:A, as: query, name: k, in_url: true } }",
            ),
            &[],
        ),
        (
            "credentials in one variable",
            file(
                "{ command: [cat], credentials: [{ ref: env:A, as: environment, name: A, user_name: U, user: svc }, { ref: env:B, as: environment, name: U }, { ref: env:C, as: environment, name: A }] }",
            ),
            &[],
        ),
        (
            "credential in a variable of `env`",
            file(
                "{ command: [cat], env: { A: b, U: c }, credential: { ref: env:A, as: environment, name: A, user_name: U, user: svc } }",
            ),
            &[],
        ),
        ("credentials of two leases", leases, &[]),
    ]
}

/// Former names of keys.
const RENAMED: &str = "\
limits:
  running: { caller: 5 }
  breaker: { failures: 5, rest: 10s }
  suspension: off
";

/// A vault with this login.
fn vault(auth: &str) -> String {
    with(&format!(
        "credentials: {{ providers: {{ vault: {{ address: https://vault.example:8200, mounts: {{ secret: kv2 }}, auth: {auth} }} }} }}"
    ))
}

fn values() -> Vec<Case> {
    let limits = "\
limits:
  body: 1KiB
  result: 1GiB
  event: -1
  depth: 65
  in_flight: 0
  read_deadline: 0s
  session_idle: 99999999999999999d
  sessions: 5
  sessions_per_caller: 6
  keep_alive: '15s'
";
    let audit = "audit: { durability: maybe, arguments: { clear: [crm, cmr.search, crm.] } }";
    let later = "tenants: {}\nstate: { store: \"postgres://db/keepgate\", counters: memory }\naudit: { sinks: [] }";
    vec![
        ("limits", with(limits), &[]),
        ("oauth", with(OAUTH), &[]),
        ("oauth without issuers", with("auth: { mode: oauth }"), &[]),
        (
            "oauth without an address",
            with("listen: ['127.0.0.1:1', '127.0.0.1:2']\nauth: { mode: oauth, issuers: [] }"),
            &[],
        ),
        (
            "issuers beside keys",
            with("auth: { keys: true, issuers: [{ issuer: https://idp.example }] }"),
            &[],
        ),
        ("log", with("log: { level: 'loud=very', format: xml }"), &[]),
        ("audit", with(audit), &[]),
        ("keys of later versions", with(later), &[]),
        ("renamed keys", with(RENAMED), &[]),
        ("unknown key far from any other", with("colour: blue"), &[]),
    ]
}

fn variables() -> Vec<Case> {
    vec![
        (
            "variable of no key",
            with(""),
            &[("KEEPGATE_LISEN", "127.0.0.1:1")],
        ),
        (
            "variable with a wrong value",
            with(""),
            &[("KEEPGATE_LISTEN", "here")],
        ),
        (
            "variable with broken YAML",
            with(""),
            &[("KEEPGATE_HOSTS", "[a.example")],
        ),
        (
            "variable below a single value",
            with(""),
            &[("KEEPGATE_VERSION__X", "1")],
        ),
        (
            "variable against the file",
            with(""),
            &[("KEEPGATE_SERVERS__CRM__COMMAND", "[cat]")],
        ),
        (
            "variable with a secret",
            with(""),
            &[("KEEPGATE_SERVERS__CRM__ENV__TOKEN", "[secret]")],
        ),
        (
            "variable too deep",
            with(""),
            &[("KEEPGATE_A__B__C__D__E__F__G__H__I", "x")],
        ),
    ]
}

#[test]
fn names_of_servers_have_one_spelling() {
    for name in ["CRM", "a__b", "t", "'a/b'", "''"] {
        assert!(
            read(&SMALL.replace("crm:", &format!("{name}:")), &[]).is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_flood_of_errors_is_cut() {
    let keys: String = (0..1000)
        .map(|number| format!("key{number}: 1\n"))
        .collect();
    let report = read(&with(&keys), &[]).unwrap_err();
    assert_eq!(report.matches("unknown key").count(), 50);
    assert!(
        report.ends_with("1000 errors in the configuration, 950 of them not shown"),
        "{report}"
    );
}
