//! What is shipped in `deploy/`: configurations that the program takes, units, manifests and images that their own tools take.
//!
//! The tools (hadolint, kubernetes-validate, check-jsonschema, kubectl) come by `make deploy-tools` into `.peers/deploy/`;
//! systemd and Prometheus are the machine's.

#![expect(
    clippy::disallowed_methods,
    reason = "tools are started as an operator starts them"
)]

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use keepgate_tests::{installed, skip};
use serde_json::Value;

/// The highest exposure of the unit that `systemd-analyze security` may find, in tenths. What is left is the network.
const EXPOSURE: u32 = 15;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

fn deploy() -> PathBuf {
    root().join("deploy")
}

/// The program `keepgate`; `cargo build -p keepgate-cli` makes it beside the tests.
fn keepgate() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("keepgate");
    assert!(
        program.exists(),
        "build it first: cargo build -p keepgate-cli"
    );
    program
}

/// Runs a tool to its end.
fn run<W: AsRef<OsStr>>(program: impl AsRef<OsStr>, words: &[W]) -> Output {
    let program = program.as_ref();
    let output = Command::new(program).args(words).output();
    output.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// A tool that `make deploy-tools` installs.
fn tool(name: &str) -> PathBuf {
    let path = root().join(".peers/deploy/bin").join(name);
    assert!(
        path.exists(),
        "{name} is not installed: run `make deploy-tools` first (`make test` does)"
    );
    path
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn well(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

/// A copy of `deploy/` with a certificate, and what names it to the program.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn new() -> Self {
        let copy = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        copy_folder(&deploy(), &copy.path("deploy"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(copy.path("tls.crt"), made.cert.pem()).unwrap();
        fs::write(copy.path("tls.key"), made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(copy.path("tls.key"), PermissionsExt::from_mode(0o600)).unwrap();
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program on one of the configurations, with certificate and state from here.
    fn keepgate(&self, config: &str, words: &[&str]) -> Output {
        let mut command = Command::new(keepgate());
        command.env_clear();
        command
            .arg("--config")
            .arg(self.path("deploy").join(config));
        command.args(words);
        command.env("KEEPGATE_TLS__CERTIFICATE", self.path("tls.crt"));
        command.env("KEEPGATE_TLS__KEY", self.path("tls.key"));
        command.env("KEEPGATE_STATE__DIR", self.path("state"));
        if config.starts_with("kubernetes") {
            // There they are a volume of their own.
            command.env("KEEPGATE_POLICIES", "[./policies]");
        }
        command.output().unwrap()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Every configuration below `deploy/`, as its path from there: each YAML file that says `version: 1` and has servers.
fn configurations() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![deploy()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new("yaml")) {
                let text = fs::read_to_string(&path).unwrap();
                let ours = text.lines().any(|line| line == "version: 1")
                    && text.lines().any(|line| line == "servers:");
                if ours {
                    let path = path.strip_prefix(deploy()).unwrap();
                    found.push(path.to_string_lossy().into_owned());
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_shipped_configuration_is_taken() {
    let copy = Copy::new();
    let configurations = configurations();
    assert!(configurations.len() >= 3, "{configurations:?}");
    for config in configurations {
        for words in [&["check"][..], &["policy", "test"]] {
            let output = copy.keepgate(&config, words);
            assert!(output.status.success(), "{config}: {}", said(&output));
        }
    }
}

#[test]
fn what_a_file_can_say_of_readiness_is_said_in_every_shipped_configuration() {
    let copy = Copy::new();
    // What only people and machines can do, and what the examples lack on purpose: a collector, a vault, a certificate
    // between two containers of one machine.
    let by_people = ["operators", "kill_drill", "approvals_asked"];
    let on_purpose = ["telemetry", "upstream_tls", "encrypted"];
    for config in configurations() {
        let output = copy.keepgate(&config, &["check", "--readiness", "--output", "json"]);
        assert_eq!(
            output.status.code(),
            Some(14),
            "{config}: {}",
            said(&output)
        );
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for item in report["items"].as_array().unwrap() {
            let id = item["id"].as_str().unwrap();
            let excused = by_people.contains(&id) || on_purpose.contains(&id);
            assert!(item["standing"] != "missing" || excused, "{config}: {item}");
        }
    }
}

#[test]
fn the_unit_is_sound_and_exposes_little() {
    let copy = Copy::new();
    let unit = copy.path("keepgate.service");
    let text = fs::read_to_string(deploy().join("systemd/keepgate.service")).unwrap();
    let program = keepgate().display().to_string();
    fs::write(&unit, text.replace("/usr/local/bin/keepgate", &program)).unwrap();
    let path = unit.to_str().unwrap();
    let Some(analyze) = installed("systemd-analyze") else {
        return;
    };
    let verified = said(&run(&analyze, &["verify", "--man=no", path]));
    // On a machine without systemd running it may say that it cannot look further; of this unit it must say nothing.
    assert!(!verified.contains("keepgate.service"), "{verified}");
    let threshold = format!("--threshold={EXPOSURE}");
    let security = ["security", "--offline=yes", "--no-pager", &threshold, path];
    let output = run(&analyze, &security);
    let said = said(&output);
    if said.contains("unrecognized option") {
        skip("this systemd-analyze cannot check a file (250 and later can)");
        return;
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
fn the_drain_ends_before_the_service_manager_loses_patience() {
    let longest_drain = 45; // both of limits.drain_delay and limits.drain and what closing takes, unless a configuration says otherwise
    for config in configurations() {
        let text = fs::read_to_string(deploy().join(&config)).unwrap();
        assert!(
            !text.contains("drain:") && !text.contains("drain_delay:"),
            "{config}: look at the three below"
        );
    }
    for (file, key) in [
        ("systemd/keepgate.service", "TimeoutStopSec="),
        ("compose/compose.yaml", "stop_grace_period: "),
        (
            "kubernetes/statefulset.yaml",
            "terminationGracePeriodSeconds: ",
        ),
    ] {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        let (_, value) = text.split_once(key).unwrap();
        let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
        let patience: u32 = digits.parse().unwrap();
        assert!(patience > longest_drain, "{file}: {patience}");
    }
}

/// Fails if one of the manifests does not fit.
fn fits_kubernetes(files: &[PathBuf]) {
    let words = ["--strict", "-k", "1.32"].map(OsStr::new);
    let files = files.iter().map(|file| file.as_os_str());
    let words: Vec<&OsStr> = words.into_iter().chain(files).collect();
    well(&run(tool("kubernetes-validate"), &words));
}

#[test]
fn the_manifests_fit_the_schemas_of_kubernetes() {
    let files = fs::read_dir(deploy().join("kubernetes")).unwrap();
    let files = files.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".yaml") && !["keepgate.yaml", "kustomization.yaml"].contains(&&*name)
    });
    let files: Vec<PathBuf> = files.collect();
    assert!(files.len() >= 6, "{files:?}");
    fits_kubernetes(&files);
}

#[test]
fn the_manifests_are_put_together() {
    let folder = deploy().join("kubernetes");
    let built = run(
        tool("kubectl"),
        &[OsStr::new("kustomize"), folder.as_os_str()],
    );
    well(&built);
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    for kind in [
        "Namespace",
        "ServiceAccount",
        "ConfigMap",
        "Service",
        "StatefulSet",
        "NetworkPolicy",
        "PodDisruptionBudget",
    ] {
        assert!(text.contains(&format!("\nkind: {kind}\n")), "{kind}");
    }
    // Secrets are made by people or operators, never by a file in a repository.
    assert!(!text.contains("\nkind: Secret\n"));
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    fs::write(file.path(), text).unwrap();
    fits_kubernetes(&[file.path().to_owned()]);
}

/// With the console behind an ingress. The listener that others reach has a certificate, which the probes know.
#[test]
fn the_console_is_put_behind_an_ingress_with_tls_up_to_the_pod() {
    let folder = deploy().join("kubernetes-console");
    let built = run(
        tool("kubectl"),
        &[OsStr::new("kustomize"), folder.as_os_str()],
    );
    well(&built);
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    assert!(text.contains("\nkind: Ingress\n"));
    assert_eq!(text.matches("\nkind: StatefulSet\n").count(), 1);
    for needed in [
        "KEEPGATE_ADMIN__TLS__CERTIFICATE",
        "KEEPGATE_ADMIN__TLS__KEY",
        "KEEPGATE_ADMIN__PUBLIC_URL",
    ] {
        assert!(text.contains(needed), "{needed}");
    }
    let probes = text.matches("- --certificate\n").count();
    assert_eq!(probes, 3, "startup, liveness, readiness");
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    fs::write(file.path(), text).unwrap();
    fits_kubernetes(&[file.path().to_owned()]);
}

#[test]
fn the_compose_file_fits_its_schema_and_binds_every_container() {
    let file = deploy().join("compose/compose.yaml");
    let schema = ["--builtin-schema", "vendor.compose-spec"].map(OsStr::new);
    let words: Vec<&OsStr> = schema.into_iter().chain([file.as_os_str()]).collect();
    well(&run(tool("check-jsonschema"), &words));
    let text = fs::read_to_string(&file).unwrap();
    let (_, services) = text.split_once("\nservices:\n").unwrap();
    let (services, _) = services.split_once("\nnetworks:\n").unwrap();
    // A service is a key two blanks in.
    let starts = services.lines().filter(|line| {
        line.starts_with("  ") && !line.starts_with("   ") && !line.trim_start().starts_with('#')
    });
    let count = starts.count();
    for bond in [
        "    read_only: true\n",
        "    cap_drop: [ALL]\n",
        "    security_opt: [\"no-new-privileges:true\"]\n",
        "    user: \"",
        "    mem_limit: ",
    ] {
        assert_eq!(services.matches(bond).count(), count, "{bond}");
    }
}

#[test]
fn prometheus_understands_what_it_is_told_to_ask() {
    let config = deploy().join("compose/prometheus.yml");
    let text = fs::read_to_string(&config).unwrap();
    // The job's name is what the alerts look for, and the mounted folder has them.
    assert!(text.contains("job_name: keepgate"));
    assert!(text.contains("/etc/prometheus/keepgate/alerts.yaml"));
    assert!(deploy().join("prometheus/alerts.yaml").exists());
    let words = ["check", "config", "--syntax-only"].map(OsStr::new);
    let words: Vec<&OsStr> = words.into_iter().chain([config.as_os_str()]).collect();
    if let Some(promtool) = installed("promtool") {
        well(&run(promtool, &words));
    }
}

#[test]
fn the_image_files_pass_their_linter() {
    for file in ["Dockerfile", "compose/upstream/Dockerfile"] {
        well(&run(tool("hadolint"), &[deploy().join(file)]));
    }
    let text = fs::read_to_string(deploy().join("Dockerfile")).unwrap();
    let (_, last) = text.rsplit_once("\nFROM ").unwrap();
    assert!(last.contains("\nUSER 65532:65532\n"));
    assert!(!last.contains("\nRUN "), "the last stage has no shell");
}
