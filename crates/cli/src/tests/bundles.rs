//! Bundles from the command line.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "one bundle through all verbs")]
fn a_bundle_is_built_signed_and_verified() {
    let bench = Bench::new();
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/src/bundle/tests");
    let (private, public) = (format!("{tests}/p256.pem"), format!("{tests}/p256.pub.pem"));
    let file = |name: &str| bench.directory.path().join(name).display().to_string();
    let (policies, out, copy) = (file("policies"), file("b.tar.gz"), file("c.tar.gz"));
    let key = ["--algorithm", "ES256", "--key-id", "one", "--scope", "live"];
    let run = |words: &[&str], key: &[&str]| {
        let all = [&["policy", "bundle"], words, key].concat();
        bench.run(&all)
    };
    let build = [
        "build",
        &policies,
        "--out",
        &out,
        "--revision",
        "r1",
        "--root",
        "mcp/authz",
    ];
    let built = run(&build, &[]);
    assert_eq!(built.exit, Exit::Success, "{}", built.stderr);
    assert!(
        built
            .stdout
            .contains("not signed)\nrevision: r1\nowns: data.mcp.authz\n"),
        "{}",
        built.stdout
    );
    assert_eq!(run(&["verify", &out], &[]).exit, Exit::Success);
    let unsigned = run(&["verify", &out, "--key", &public], &key);
    assert_eq!(unsigned.exit, Exit::Policy);
    assert!(
        unsigned.stderr.contains("bundle is not signed"),
        "{}",
        unsigned.stderr
    );
    let signed = run(&["sign", &out, "--out", &copy, "--key", &private], &key);
    assert_eq!(signed.exit, Exit::Success, "{}", signed.stderr);
    let verified = run(&["verify", &copy, "--key", &public], &key);
    assert!(
        verified
            .stdout
            .contains("signed by ES256 key one, for live"),
        "{}",
        verified.stdout
    );
    assert_eq!(run(&["verify", &copy], &[]).exit, Exit::Policy);
    assert_eq!(run(&["sign", &copy], &[]).exit, Exit::Usage);
    assert_eq!(
        run(&["sign", &copy, "--key", &public], &key).exit,
        Exit::Negative
    );
    // In its place, and by the build itself.
    assert_eq!(
        run(&["sign", &copy, "--key", &private], &key).exit,
        Exit::Success
    );
    assert_eq!(
        run(&[&build[..], &["--key", &private]].concat(), &key).exit,
        Exit::Success
    );
    assert_eq!(
        run(&["verify", &out, "--key", &public], &key).exit,
        Exit::Success
    );
    let outside = run(&["build", &policies, "--out", &out, "--root", "other"], &[]);
    assert_eq!(outside.exit, Exit::Policy);
    assert!(
        outside.stderr.contains("outside the roots"),
        "{}",
        outside.stderr
    );
}

#[test]
fn a_check_reads_bundles_in_files_and_fetches_none() {
    let bench = Bench::new();
    let file = |name: &str| bench.path(name).display().to_string();
    let out = file("b.tar.gz");
    let build = [
        "policy",
        "bundle",
        "build",
        &file("policies"),
        "--out",
        &out,
    ];
    assert_eq!(bench.run(&build).exit, Exit::Success);
    let configured = |policies: &str| {
        let servers = "servers:\n  crm: { url: https://crm.example/mcp }\n";
        bench.write(
            "keepgate.yaml",
            &format!("version: 1\npolicies: [{policies}]\n{servers}"),
        );
        bench.run(&["check"])
    };
    let remote = "{ bundle: https://p.example/b.tar.gz }";
    let ran = configured(&format!("{{ bundle: b.tar.gz }}, {remote}"));
    assert_eq!(ran.exit, Exit::Success, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("policies ok: 1 files"),
        "{}",
        ran.stdout
    );
    let unseen = "warning: not fetched, so not checked: bundle https://p.example/b.tar.gz\n";
    assert!(ran.stdout.contains(unseen), "{}", ran.stdout);
    let ran = configured(remote);
    assert_eq!(ran.exit, Exit::Success, "{}", ran.stderr);
    assert!(ran.stdout.contains(unseen), "{}", ran.stdout);
    bench.write("b.tar.gz", "no archive");
    let ran = configured("{ bundle: b.tar.gz }");
    assert_eq!(ran.exit, Exit::Policy);
    assert!(
        ran.stderr
            .contains("b.tar.gz: not a gzip archive, or damaged"),
        "{}",
        ran.stderr
    );
}
