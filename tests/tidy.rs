//! The code base checks itself: who may know whom, which metrics a graph may name, and what must
//! not stand in the repository.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has found something"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use causeway_observability::names;
use toml::Table;

/// The crates of the product, and which of our crates each may know. Tests, demo and benches may
/// use everything, and nothing may use them.
const GRAPH: [(&str, &[&str]); 12] = [
    ("change", &[]),
    ("service", &[]),
    ("observability", &[]),
    ("vault", &[]),
    ("sqlserver", &["change"]),
    ("postgres", &["change"]),
    ("avro", &["change"]),
    ("kafka", &["change"]),
    ("source", &["change", "sqlserver", "avro", "kafka", "service", "observability", "vault"]),
    ("sink", &["change", "avro", "kafka", "postgres", "service", "observability", "vault"]),
    (
        "reconcile",
        &["change", "sqlserver", "postgres", "kafka", "service", "observability", "vault"],
    ),
    // A SQL Server must not be made of the code that it tests.
    ("sqlserver-standin", &[]),
];

/// Packages that prove the product and are no part of it.
const PROOF: [&str; 3] = ["tests", "demo", "benches"];

/// A file that grew past this has more than one idea.
const RUST_LINES_MAX: usize = 900;

/// What is larger belongs to a cache or a release, not into a clone.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file that is tracked, or would be by `git add`; without git (a source archive), every file
/// outside `target`.
fn files() -> Vec<PathBuf> {
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let listed: Vec<PathBuf> = match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split_terminator('\0')
            .map(|name| root().join(name))
            .collect(),
        _ => {
            let mut found = Vec::new();
            walk(root(), &mut found);
            found
        }
    };
    let files: Vec<_> = listed.into_iter().filter(|path| path.is_file()).collect();
    assert!(files.len() > 30, "only {} files were found", files.len());
    files
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != ".git" {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn manifests() -> BTreeMap<String, Table> {
    let mut manifests = BTreeMap::new();
    for path in files().iter().filter(|path| path.ends_with("Cargo.toml")) {
        let manifest: Table = fs::read_to_string(path).unwrap().parse().unwrap();
        let Some(name) = manifest.get("package").and_then(|p| p.get("name")?.as_str()) else {
            continue;
        };
        if let Some(name) = name.strip_prefix("causeway-") {
            manifests.insert(name.to_owned(), manifest.clone());
        }
    }
    manifests
}

/// Our crates among the dependencies that end up in the product.
fn knows(manifest: &Table) -> BTreeSet<String> {
    ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(Table::keys)
        .filter_map(|name| name.strip_prefix("causeway-"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_crate_knows_more_than_it_may() {
    let manifests = manifests();
    let mut wrong = Vec::new();
    for (name, manifest) in &manifests {
        if PROOF.contains(&name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = GRAPH.iter().find(|(known, _)| known == name) else {
            wrong.push(format!("{name} is not in GRAPH: say here which crates it may know"));
            continue;
        };
        for other in knows(manifest) {
            if !allowed.contains(&other.as_str()) {
                wrong.push(format!("{name} must not depend on {other}"));
            }
        }
    }
    for (name, _) in GRAPH {
        assert!(manifests.contains_key(name), "{name} stands in GRAPH and not in the repository");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_crate_is_under_the_workspace_lints() {
    for (name, manifest) in manifests() {
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
        assert_eq!(lints, Some(true), "{name}: its Cargo.toml needs [lints] workspace = true");
    }
}

/// The names that stand in an expression of PromQL and could be metrics of ours.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("causeway_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Whether we export `name`, or it is a series of a histogram that we export.
fn exported(name: &str) -> bool {
    names::all().iter().any(|metric| {
        metric.name == name
            || metric.kind == names::Kind::Histogram
                && ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix) == Some(metric.name))
    })
}

/// Every string below a key `expr` of a JSON document.
fn expressions(json: &serde_json::Value, found: &mut Vec<String>) {
    if let Some(map) = json.as_object() {
        for (key, value) in map {
            if matches!(key.as_str(), "expr" | "query" | "definition")
                && let Some(text) = value.as_str()
            {
                found.push(text.to_owned());
            }
            expressions(value, found);
        }
    } else if let Some(items) = json.as_array() {
        items.iter().for_each(|item| expressions(item, found));
    }
}

#[test]
fn every_query_of_a_dashboard_names_metrics_that_we_export() {
    let mut dashboards = 0;
    for entry in fs::read_dir(root().join("grafana/dashboards")).unwrap() {
        let path = entry.unwrap().path();
        let json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut found = Vec::new();
        expressions(&json, &mut found);
        assert!(!found.is_empty(), "{} has no query", shown(&path));
        for expression in found {
            let metrics = metrics_in(&expression);
            assert!(!metrics.is_empty(), "{}: {expression} names no metric", shown(&path));
            for metric in metrics {
                assert!(
                    exported(&metric),
                    "{}: {metric} is not exported; see observability/src/names",
                    shown(&path)
                );
            }
        }
        dashboards += 1;
    }
    assert!(dashboards > 0);
}

#[test]
fn every_alert_names_metrics_that_we_export() {
    let mut rules = 0;
    for entry in fs::read_dir(root().join("observability/prometheus")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            for metric in metrics_in(line) {
                assert!(exported(&metric), "{}: {metric} is not exported", shown(&path));
                rules += 1;
            }
        }
    }
    assert!(rules > 0, "no rule was found");
}

#[test]
fn no_file_is_too_large_for_a_clone() {
    for path in files() {
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes <= FILE_BYTES_MAX, "{} has {bytes} bytes", shown(&path));
    }
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    // Taken apart, so that this file does not name them itself.
    let paths =
        [["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"], ["/wo", "rk/"]].map(|p| p.concat());
    // Where a path of that kind is not a machine's own.
    let fine = ["/home/nonroot", "/home/causeway"];
    for path in files() {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let line = fine.iter().fold(line.to_owned(), |line, fine| line.replace(fine, ""));
            let found = paths.iter().find(|path| starts_a_path(&line, path));
            assert!(found.is_none(), "{}:{}: {}", shown(&path), number + 1, line.trim());
        }
    }
}

/// Whether `path` stands in the line as the beginning of a path, not inside one (`vendor/work/`).
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '*' | '~'))
    })
}

#[test]
fn no_rust_file_has_more_than_one_idea() {
    let mut long = Vec::new();
    for path in files().iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let lines = fs::read_to_string(path).unwrap().lines().count();
        if lines > RUST_LINES_MAX {
            long.push(format!("{}: {lines} lines", shown(path)));
        }
    }
    assert!(long.is_empty(), "longer than {RUST_LINES_MAX} lines, split them: {long:#?}");
}

#[test]
fn the_example_configuration_has_only_known_sections() {
    let path = root().join("causeway.example.toml");
    let file = causeway_service::settings::File::load(&path).unwrap();
    for section in causeway_service::settings::SECTIONS {
        assert!(file.has(section), "causeway.example.toml does not show [{section}]");
    }
    let _: causeway_service::settings::Pipeline = file.section("pipeline").unwrap();
    let _: causeway_vault::Config = file.section("vault").unwrap();
    let watch: causeway_observability::Config = file.section("observability").unwrap();
    watch.validate().unwrap();
}

/// Where the keys of each section are declared.
const CONFIGS: [&str; 9] = [
    "vault/src/config.rs",
    "observability/src/config.rs",
    "libs/service/src/settings.rs",
    "libs/sqlserver/src/config.rs",
    "libs/kafka/src/config.rs",
    "libs/postgres/src/config.rs",
    "source/src/config.rs",
    "sink/src/config.rs",
    "reconcile/src/config.rs",
];

#[test]
fn every_key_of_the_configuration_is_documented() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut keys = 0;
    for path in CONFIGS {
        let text = fs::read_to_string(root().join(path)).unwrap();
        // The structs that are sections, by the attribute that refuses unknown keys.
        for section in text.split("deny_unknown_fields").skip(1) {
            let body = section.split("\n}\n").next().unwrap();
            for line in body.lines() {
                let Some((key, _)) = line.strip_prefix("    pub ").and_then(|l| l.split_once(':'))
                else {
                    continue;
                };
                // A table of its own stands under its own heading.
                let row = page.contains(&format!("\n| `{key}` |"));
                let heading = page.contains(&format!(".{key}]\n"));
                assert!(row || heading, "{path}: `{key}` is not in docs/configuration.md");
                keys += 1;
            }
        }
    }
    assert!(keys > 60, "only {keys} keys were found");
}

#[test]
fn the_words_of_promql_are_told_from_metrics() {
    let found = metrics_in("sum by (table) (rate(causeway_sink_rows_applied_total{a=\"b\"}[5m]))");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["causeway_sink_rows_applied_total"]);
    assert!(exported("causeway_sink_apply_seconds_bucket"));
    assert!(!exported("causeway_sink_lag_records_bucket"));
    assert!(!exported("causeway_sink_invented_total"));
    let known =
        knows(&"[dependencies]\ncauseway-change.workspace = true\nserde = \"1\"".parse().unwrap());
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["change"]);
}

/// The programs' text, with the lines of a continued string joined as the compiler joins them.
fn programs() -> String {
    let ours =
        ["source/src", "sink/src", "reconcile/src", "libs", "vault/src", "observability/src"];
    let mut text = String::new();
    for path in files().iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        if ours.iter().any(|folder| path.starts_with(root().join(folder))) {
            let mut continued = false;
            for line in fs::read_to_string(path).unwrap().lines() {
                let line = if continued { line.trim_start() } else { line };
                continued = line.ends_with('\\');
                text.push_str(line.strip_suffix('\\').unwrap_or(line));
                if !continued {
                    text.push('\n');
                }
            }
        }
    }
    text
}

#[test]
fn the_runbook_quotes_what_the_programs_say() {
    let programs = programs();
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let rows = runbook.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let quoted: Vec<&str> = rows.map(|(quoted, _)| quoted).collect();
    assert!(quoted.len() >= 10, "only {} messages were found", quoted.len());
    let unsaid: Vec<_> = quoted.iter().filter(|quoted| !programs.contains(**quoted)).collect();
    assert!(unsaid.is_empty(), "docs/runbook.md quotes what no program says: {unsaid:#?}");
}
