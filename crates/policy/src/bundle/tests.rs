//! What is read of a bundle, and what is refused: hostile archives, manifests, signatures.

mod archives;
mod signatures;

use std::path::Path;

use super::archive::Entry;
use super::*;

const RULES: &str = "package mcp.authz\nallow contains \"x\" if input.tool\n";

fn entry(name: &str, text: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<Entry> = files.iter().map(|(name, text)| entry(name, text)).collect();
    write::archive(&entries).unwrap()
}

/// Reads a bundle called `b`; its problems without hints.
fn problems(bytes: &[u8], verification: Option<&Verification>) -> Vec<String> {
    match read(
        Path::new("b"),
        bytes,
        verification,
        &Settings::default(),
        false,
    ) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            let told =
                |problem: &Problem| format!("{}: {}", problem.file.display(), problem.message);
            problems.iter().map(told).collect()
        }
    }
}

#[test]
fn files_are_mounted_where_they_lie() {
    let bytes = packed(&[
        (
            ".manifest",
            r#"{"revision": "7", "roots": ["mcp/authz", "/limits/"], "rego_version": 1, "metadata": {"a": [1]}}"#,
        ),
        ("rules/a.rego", RULES),
        ("rules/a_test.rego", "package mcp.authz_test\n"),
        ("limits/exports/data.yaml", "most: 5\n"),
        ("readme.md", "not ours"),
    ]);
    // The tests' package lies outside, but they are not in force.
    let read = read(Path::new("b"), &bytes, None, &Settings::default(), false).unwrap();
    let names: Vec<_> = read
        .files
        .iter()
        .map(|file| (file.path.display().to_string(), file.mount.join(".")))
        .collect();
    assert_eq!(
        names,
        [
            (
                "b/limits/exports/data.yaml".to_owned(),
                "limits.exports".to_owned()
            ),
            ("b/rules/a.rego".to_owned(), "rules".to_owned()),
        ]
    );
    let about = read.about;
    assert_eq!(about.revision.as_deref(), Some("7"));
    let roots: Vec<_> = about.roots.iter().map(ToString::to_string).collect();
    assert_eq!(roots, ["mcp/authz", "limits"]);
    assert_eq!(about.files.len(), 5);
    assert_eq!(about.size, bytes.len());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of one case per row")]
fn a_manifest_means_what_it_says_or_nothing() {
    for (manifest, told) in [
        ("{}", None),
        (r#"{"revision": "", "roots": [""], "wasm": []}"#, None),
        (r#"{"roots": ["mcp"]}"#, None),
        (r#"{"roots": ["mcp/authz", "other"]}"#, None),
        (
            r#"{"roots": ["mcp/authz"], "file_rego_versions": {"/a.rego": 1}}"#,
            None,
        ),
        (
            "",
            Some(".manifest: manifest is not understood: not an object"),
        ),
        (
            "[]",
            Some(".manifest: manifest is not understood: not an object"),
        ),
        (
            r#"{"roots": "mcp"}"#,
            Some(
                ".manifest: manifest is not understood: invalid type: string \"mcp\", expected a sequence at line 1 column 15",
            ),
        ),
        (
            r#"{"roots": ["mcp"], "roots": [""]}"#,
            Some(
                ".manifest: manifest is not understood: duplicate field `roots` at line 1 column 26",
            ),
        ),
        (
            r#"{"rootz": []}"#,
            Some(
                ".manifest: manifest is not understood: unknown field `rootz`, expected one of `revision`, `roots`, `rego_version`, `file_rego_versions`, `wasm`, `metadata` at line 1 column 8",
            ),
        ),
        (
            r#"{"rego_version": 0}"#,
            Some(".manifest: manifest wants version `0` of Rego, only version 1 is read"),
        ),
        (
            r#"{"file_rego_versions": {"*": 0}}"#,
            Some(".manifest: manifest wants version `0` of Rego, only version 1 is read"),
        ),
        (
            r#"{"wasm": [{"entrypoint": "a"}]}"#,
            Some(".manifest: manifest has WebAssembly modules, which are not evaluated here"),
        ),
        (
            r#"{"roots": ["mcp", "mcp/authz"]}"#,
            Some(".manifest: roots overlap: `mcp` and `mcp/authz`"),
        ),
        (
            r#"{"roots": ["", "mcp"]}"#,
            Some(".manifest: roots overlap: `` and `mcp`"),
        ),
        (
            r#"{"roots": ["mcp//authz"]}"#,
            Some(".manifest: root is not plain: `mcp//authz`"),
        ),
        (
            r#"{"roots": []}"#,
            Some("a.rego: package lies outside the roots of the bundle: `mcp.authz`"),
        ),
        (
            r#"{"roots": ["mcp/auth"]}"#,
            Some("a.rego: package lies outside the roots of the bundle: `mcp.authz`"),
        ),
        (
            r#"{"roots": ["mcp/authz/deep"]}"#,
            Some("a.rego: package lies outside the roots of the bundle: `mcp.authz`"),
        ),
    ] {
        let found = problems(&packed(&[(".manifest", manifest), ("a.rego", RULES)]), None);
        let wanted: Vec<String> = told.iter().map(|told| format!("b/{told}")).collect();
        assert_eq!(found, wanted, "{manifest}");
    }
}

#[test]
fn packages_and_data_lie_inside_the_roots() {
    let manifest = (".manifest", r#"{"roots": ["mcp/authz", "a/b"]}"#);
    for (name, text, told) in [
        ("x.rego", "# of mine\n\npackage mcp.authz # here\n", None),
        ("x.rego", "package mcp[\"authz\"]\n", None),
        ("x.rego", "package mcp.authz.more\n", None),
        (
            "x.rego",
            "package mcp\n",
            Some("package lies outside the roots of the bundle: `mcp`"),
        ),
        (
            "x.rego",
            "package a\nx := 1\n",
            Some("package lies outside the roots of the bundle: `a`"),
        ),
        (
            "x.rego",
            "import rego.v1\npackage mcp.authz\n",
            Some("package is not understood, so it is in no root of the bundle"),
        ),
        (
            "x.rego",
            "",
            Some("package is not understood, so it is in no root of the bundle"),
        ),
        (
            "x.rego",
            "package \"mcp\"\n",
            Some("package is not understood, so it is in no root of the bundle"),
        ),
        ("data.json", r#"{"a": {"b": {"c": 1}}}"#, None),
        ("data.json", r#"{"a": {"b": 1}}"#, None),
        ("data.json", "{}", None),
        ("a/data.json", r#"{"b": 1}"#, None),
        ("a/b/c/data.yml", "5", None),
        (
            "data.json",
            r#"{"a": {"b": 1, "c": 1}}"#,
            Some("data lies outside the roots of the bundle: `a/c`"),
        ),
        (
            "data.json",
            r#"{"a": 1}"#,
            Some("data lies outside the roots of the bundle: `a`"),
        ),
        (
            "c/data.yaml",
            "x: 1",
            Some("data lies outside the roots of the bundle: `c`"),
        ),
    ] {
        let found = problems(&packed(&[manifest, (name, text)]), None);
        let wanted: Vec<String> = told
            .iter()
            .map(|told| format!("b/{name}: {told}"))
            .collect();
        assert_eq!(found, wanted, "{name}: {text}");
    }
}

#[test]
fn what_has_no_place_in_a_bundle_is_told() {
    let found = problems(
        &packed(&[
            ("patch.json", "{}"),
            ("policy.wasm", ""),
            ("plan.json", "{}"),
            (".hidden/a.rego", RULES),
            ("._a.rego", "x"),
            ("sub/.manifest", "{}"),
            ("long.rego", &"#".repeat(600_000)),
        ]),
        None,
    );
    assert_eq!(
        found,
        [
            "b/patch.json: delta bundles are not taken",
            "b/policy.wasm: compiled policies are not evaluated here",
            "b/plan.json: compiled policies are not evaluated here",
            "b/.hidden/a.rego: hidden files have no place in a bundle",
            "b/._a.rego: hidden files have no place in a bundle",
            "b/sub/.manifest: hidden files have no place in a bundle",
            "b/long.rego: larger than 524288 bytes",
        ]
    );
    let many: Vec<(String, &str)> = (0..2_001).map(|n| (format!("{n}.rego"), RULES)).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (&**name, *text)).collect();
    assert_eq!(problems(&packed(&many), None), ["b: more than 2000 files"]);
}

#[test]
fn bundles_do_not_own_parts_of_each_other() {
    let of = |name: &str, roots: &str| {
        let manifest = format!("{{\"roots\": [{roots}]}}");
        let read = read(
            Path::new(name),
            &packed(&[(".manifest", &manifest)]),
            None,
            &Settings::default(),
            false,
        );
        (PathBuf::from(name), read.unwrap().about.roots)
    };
    assert_eq!(
        overlaps(&[of("a", "\"mcp\""), of("b", "\"other\", \"mcpx\"")]),
        []
    );
    let told = overlaps(&[
        of("a", "\"mcp\""),
        of("b", "\"x\""),
        of("c", "\"mcp/authz\""),
    ]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].file, Path::new("c"));
    assert_eq!(told[0].message, "owns `data.mcp`, which `a` owns too");
}

#[test]
fn packing_gives_what_is_read() {
    let folder = crate::policy::tests::folder(&[
        ("a.rego", RULES),
        ("a_test.rego", "package mcp.authz_test\n"),
        ("x/data.json", "{\"y\": 1}"),
        (&format!("{}/data.json", "deep".repeat(40)), "{}"),
    ]);
    let packing = Packing {
        revision: Some("r1".to_owned()),
        ..Packing::default()
    };
    let settings = Settings::default();
    let bytes = pack(folder.path(), &packing, &settings).unwrap();
    assert_eq!(bytes, pack(folder.path(), &packing, &settings).unwrap());
    let about = BundleSource::held("b", None)
        .examine(&bytes, &settings)
        .unwrap();
    assert_eq!(about.revision.as_deref(), Some("r1"));
    let deep = format!("{}/data.json", "deep".repeat(40));
    assert_eq!(about.files, [".manifest", "a.rego", &deep, "x/data.json"]);
    let odd = Packing {
        roots: vec!["a".to_owned(), "a/b".to_owned()],
        ..Packing::default()
    };
    let told = pack(folder.path(), &odd, &settings)
        .unwrap_err()
        .to_string();
    assert!(told.ends_with("roots overlap: `a` and `a/b`"), "{told}");
}

#[test]
fn bundles_come_into_force_beside_directories() {
    use crate::sources::{Source, Sources};
    let folder = crate::policy::tests::folder(&[
        ("data.json", r#"{"names": ["a"]}"#),
        (
            "other.rego",
            "package helper\nok(name) if name in data.names\n",
        ),
    ]);
    let bundle = Arc::new(BundleSource::held("b", None));
    let sources = |bundles: &[&Arc<BundleSource>]| Sources {
        platform: std::iter::once(Source::Directory(folder.path().to_owned()))
            .chain(
                bundles
                    .iter()
                    .map(|bundle| Source::Bundle(Arc::clone(bundle))),
            )
            .collect(),
        ..Sources::default()
    };
    let settings = crate::policy::tests::settings();
    let load = || crate::Policy::load(sources(&[&bundle]), &settings);
    let told = load().unwrap_err().to_string();
    assert_eq!(told, "b: no bundle has been fetched yet");
    let rules = "package mcp.authz\nallow contains \"x\" if data.helper.ok(input.tool.name)\n";
    bundle.hold(Some(packed(&[("a.rego", rules)]).into()));
    let policy = load().unwrap();
    let before = policy.generation();
    assert_eq!((before.number, before.files), (1, 3));
    // A bundle that is no good changes nothing; the same one again neither.
    let good = bundle.hold(Some(
        packed(&[("a.rego", "package mcp.authz\nallow contains")]).into(),
    ));
    let told = policy.reload().unwrap_err();
    assert_eq!(told.problems[0].file, Path::new("b/a.rego"));
    assert!(told.problems[0].line > 0, "{told}");
    assert_eq!(policy.generation(), before);
    bundle.hold(good);
    assert!(!policy.reload().unwrap().changed);
    bundle.hold(Some(
        packed(&[("a.rego", &format!("{rules}# more\n"))]).into(),
    ));
    assert!(policy.reload().unwrap().changed);
    // Two that own everything.
    let file = folder.path().join("second.tar.gz");
    std::fs::write(&file, packed(&[("s.rego", "package second\n")])).unwrap();
    let second = Arc::new(BundleSource::file(&file, None));
    let told = crate::Policy::load(sources(&[&bundle, &second]), &settings).unwrap_err();
    assert!(
        told.to_string().contains("owns `data`, which `b` owns too"),
        "{told}"
    );
}
