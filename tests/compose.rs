//! `docker-compose.yml` and the files it mounts: valid by docker-compose, every image pinned, every
//! mounted file there, every configuration one that the services accept.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has found something"
)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use causeway_service::settings::{File, Pipeline, SettingsError};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn compose_file() -> String {
    std::fs::read_to_string(root().join("docker-compose.yml")).unwrap()
}

/// The whole file as docker-compose understands it; `None` without docker-compose.
fn understood(profile: &str) -> Option<String> {
    let output = Command::new("docker-compose")
        .args(["--profile", profile, "config"])
        .current_dir(root())
        .env("CAUSEWAY_PROFILE", profile)
        .output();
    let Ok(output) = output else {
        eprintln!("docker-compose is not installed: only the parts that need none are checked");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "docker-compose --profile {profile} config: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn docker_compose_understands_every_profile() {
    for profile in ["dev", "test", "prod"] {
        let Some(config) = understood(profile) else { return };
        for service in [
            "sqlserver",
            "postgres",
            "kafka",
            "schema-registry",
            "vault",
            "prometheus",
            "grafana",
            "jaeger",
            "causeway-source",
            "causeway-sink",
            "causeway-reconcile",
        ] {
            assert!(config.contains(&format!("\n  {service}:\n")), "{profile}: no {service}");
        }
    }
}

#[test]
fn every_image_is_pinned_by_a_version() {
    let file = compose_file();
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let images = file
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "))
        .chain(dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next()));
    let mut seen = 0;
    for image in images {
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        let pinned = image.starts_with("causeway:")
            || tag.chars().any(|c| c.is_ascii_digit()) && !tag.contains("latest");
        assert!(pinned, "{image} has no version");
        seen += 1;
    }
    assert!(seen > 10, "{seen} images were found");
}

#[test]
fn every_service_has_a_limit_of_memory_and_a_profile() {
    let file = compose_file();
    let services =
        file.split("\nservices:\n").nth(1).unwrap().split("\nvolumes:\n").next().unwrap();
    let mut names = BTreeSet::new();
    let mut name = "";
    let mut body = String::new();
    let check = |name: &str, body: &str| {
        if !name.is_empty() {
            assert!(body.contains("profiles: ["), "{name} is in no profile");
            let limited = body.contains("mem_limit:") || body.contains("*causeway");
            assert!(limited, "{name} has no mem_limit");
        }
    };
    for line in services.lines() {
        let key = line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#']));
        if let Some(key) = key.and_then(|rest| rest.strip_suffix(':')) {
            check(name, &body);
            name = key;
            names.insert(key);
            body.clear();
        }
        body.push_str(line);
        body.push('\n');
    }
    check(name, &body);
    assert!(names.len() > 10, "{names:?}");
}

#[test]
fn every_mounted_file_is_in_the_repository() {
    let file = compose_file();
    for profile in ["dev", "prod"] {
        let lines = file.lines().map(|line| line.trim().trim_start_matches("- "));
        for line in lines.filter(|line| line.starts_with("./")) {
            let path = line.replace("${CAUSEWAY_PROFILE:-dev}", profile);
            let path = path.split(':').next().unwrap();
            assert!(root().join(path).exists(), "{path} is mounted and not there");
        }
    }
}

#[tokio::test]
async fn the_configurations_are_those_of_the_services() {
    for name in ["compose/dev.toml", "compose/prod.toml", "causeway.example.toml"] {
        let mut file = File::load(&root().join(name)).unwrap();
        file.resolve(|_| async { Ok::<_, SettingsError>("x".to_owned()) }).await.unwrap();
        let _: Pipeline = file.section("pipeline").unwrap();
        let _: causeway_vault::Config = file.section("vault").unwrap();
        let sqlserver: causeway_sqlserver::Config = file.section("sqlserver").unwrap();
        sqlserver.validate().unwrap();
        let kafka: causeway_kafka::Config = file.section("kafka").unwrap();
        kafka.validate().unwrap();
        let registry: causeway_kafka::RegistryConfig = file.section("registry").unwrap();
        registry.validate().unwrap();
        let postgres: causeway_postgres::Config = file.section("postgres").unwrap();
        postgres.validate().unwrap();
        for section in ["source", "sink", "reconcile"] {
            let section: toml::Table = file.section_or_default(section).unwrap();
            documented(name, &section);
        }
        let watch: causeway_observability::Config = file.section("observability").unwrap();
        watch.validate().unwrap();
        assert_eq!(watch.source_listen.port(), 9101, "as prometheus.yml and the health checks say");
        assert_eq!(watch.sink_listen.port(), 9102);
        assert_eq!(watch.reconcile_listen.port(), 9103);
    }
}

/// The services own these sections; what they accept stands in docs/configuration.md, which a test of
/// `tidy` compares with their structs.
fn documented(file: &str, section: &toml::Table) {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    for (key, value) in section {
        match value.as_table() {
            Some(table) => documented(file, table),
            None => assert!(page.contains(&format!("\n| `{key}` |")), "{file}: {key} is unknown"),
        }
    }
}
