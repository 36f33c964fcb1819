//! What a person reads when the file is wrong, and what the program reads when it is right.

use std::collections::BTreeMap;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kafka {
    bootstrap: String,
    partitions: u16,
    replication: u16,
    encrypt: Encrypt,
    properties: BTreeMap<String, String>,
    nested: Nested,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            bootstrap: "127.0.0.1:9092".to_owned(),
            partitions: 3,
            replication: 1,
            encrypt: Encrypt::Off,
            properties: BTreeMap::new(),
            nested: Nested::default(),
        }
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Nested {
    chunk_rows: u32,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encrypt {
    Required,
    Off,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Required {
    #[expect(dead_code, reason = "only its absence matters")]
    host: String,
}

fn file(text: &str) -> File {
    File::parse("causeway.toml", text).unwrap()
}

async fn resolved(text: &str) -> Result<File, SettingsError> {
    let mut file = file(text);
    file.resolve(|name| async move {
        match name.as_str() {
            "env:HOST" => Ok("broker".to_owned()),
            "env:PORT" => Ok("9092".to_owned()),
            "vault:kafka#password" => Ok("s3cret".to_owned()),
            other => Err(format!("{other} is not set")),
        }
    })
    .await?;
    Ok(file)
}

#[test]
fn a_section_is_the_struct_of_its_owner() {
    let file =
        file("[kafka]\nbootstrap = \"a:1\"\n[kafka.properties]\n\"security.protocol\" = \"ssl\"\n");
    let kafka: Kafka = file.section("kafka").unwrap();
    assert_eq!(kafka.bootstrap, "a:1");
    assert_eq!(kafka.properties["security.protocol"], "ssl");
    assert_eq!(file.section_or_default::<Kafka>("sink").unwrap(), Kafka::default());
    assert!(file.optional::<Kafka>("source").unwrap().is_none());
    assert!(file.has("kafka") && !file.has("sink"));
}

#[test]
fn every_mistake_is_one_line_that_says_where_and_how_to_mend_it() {
    for (text, expected) in [
        (
            "[kafka]\nbootstap = \"a:1\"\n",
            "causeway.toml:2: [kafka] unknown key `bootstap`; did you mean `bootstrap`?",
        ),
        (
            "[kafka]\nbootstrap = \"a\"\n[kafka.nested]\nchunk_row = 1\n",
            "causeway.toml:4: [kafka] nested: unknown key `chunk_row`; did you mean `chunk_rows`?",
        ),
        (
            "[kafka]\n\npartitions = \"three\"\n",
            "causeway.toml:3: [kafka] partitions: is a string; it must be a whole number from 0 to 65535",
        ),
        (
            "[kafka]\npartitions = 70000\n",
            "causeway.toml:2: [kafka] partitions: has a value that is not allowed; it must be a whole number from 0 to 65535",
        ),
        (
            "[kafka]\nencrypt = \"of\"\n",
            "causeway.toml:2: [kafka] encrypt: unknown value `of`; did you mean `off`?",
        ),
        ("[kafka]\nencrypt = true\n", "causeway.toml:2: [kafka] encrypt: it must be a string"),
    ] {
        let error = file(text).section::<Kafka>("kafka").unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let file = file("[registry]\n");
    let error = file.section::<Required>("registry").unwrap_err();
    assert_eq!(error.to_string(), "causeway.toml:1: [registry] the key `host` is missing");
    let error = file.section::<Required>("postgres").unwrap_err();
    assert_eq!(error.to_string(), "causeway.toml: the section [postgres] is missing");
}

#[test]
fn a_file_that_cannot_be_parsed_or_read_says_where() {
    for (text, expected) in [
        ("[kafka\n", "causeway.toml:1:7: not valid TOML: "),
        ("[kafka]\nbootstrap = a\n", "causeway.toml:2:"),
        ("[kafk]\n", "causeway.toml:1: [kafk] unknown section `kafk`; did you mean `kafka`?"),
        ("[mongodb]\n", "known are pipeline, vault, sqlserver"),
        ("name = \"shop\"\n", "causeway.toml:1: name unknown section `name`"),
        ("pipeline = 1\n", "causeway.toml:1: pipeline must be a section"),
    ] {
        let Err(error) = File::parse("causeway.toml", text) else { panic!("accepted {text:?}") };
        let line = error.to_string();
        assert!(line.contains(expected), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
    let Err(error) = File::load(Path::new("/nowhere/causeway.toml")) else { panic!("loaded") };
    assert!(error.to_string().starts_with("/nowhere/causeway.toml: "), "{error}");
}

#[test]
fn the_pipeline_name_must_be_able_to_name_topics() {
    for name in ["shop", "a.b_c-1"] {
        let file = file(&format!("[pipeline]\nname = \"{name}\"\n"));
        assert_eq!(file.section::<Pipeline>("pipeline").unwrap().name, name);
    }
    for name in ["", "sh op", "caf\u{e9}", &"x".repeat(101)] {
        let file = file(&format!("[pipeline]\nname = \"{name}\"\n"));
        let error = file.section::<Pipeline>("pipeline").unwrap_err().to_string();
        assert!(error.starts_with("causeway.toml:2: [pipeline] name: must be 1 to 100"), "{error}");
    }
}

#[tokio::test]
async fn references_are_filled_in_wherever_a_string_stands() {
    let text = r#"
[kafka]
bootstrap = "${env:HOST}:${env:PORT}"
partitions = "${env:PORT}"
[kafka.properties]
"sasl.password" = "${vault:kafka#password}"
"literal" = "$${env:HOST} costs $5"
[source]
tables = ["${env:HOST}.*", "b"]
[vault]
token = "${env:TOKEN}"
"#;
    assert_eq!(
        file(text).references(),
        ["env:HOST", "env:PORT", "vault:kafka#password", "env:TOKEN"]
    );
    let file = resolved(text).await.unwrap();
    let kafka: Kafka = file.section("kafka").unwrap();
    assert_eq!(kafka.bootstrap, "broker:9092");
    assert_eq!(kafka.partitions, 9092);
    assert_eq!(kafka.properties["sasl.password"], "s3cret");
    assert_eq!(kafka.properties["literal"], "${env:HOST} costs $5");
    let source: Table = file.section("source").unwrap();
    assert_eq!(source["tables"].as_array().unwrap()[0].as_str(), Some("broker.*"));
    // The vault is opened with its own references, before the others can be filled in.
    let vault: Table = file.section("vault").unwrap();
    assert_eq!(vault["token"].as_str(), Some("${env:TOKEN}"));
}

#[tokio::test]
async fn a_reference_that_fails_names_itself_and_its_cause() {
    let Err(error) = resolved("[kafka]\n\nbootstrap = \"${env:NOPE}\"\n").await else {
        panic!("filled in")
    };
    let line = crate::exit::chain_line(&error);
    assert_eq!(
        line,
        "causeway.toml:3: [kafka] bootstrap: cannot fill in ${env:NOPE}: env:NOPE is not set"
    );
    let Err(error) = resolved("[kafka]\nbootstrap = \"${HOST}\"\n").await else { panic!("filled") };
    assert!(
        error
            .to_string()
            .starts_with("causeway.toml:2: [kafka] bootstrap: does not understand ${HOST}"),
        "{error}"
    );
}

#[tokio::test]
async fn a_secret_is_not_shown_even_where_it_is_refused() {
    for key in ["encrypt", "partitions", "bootstrap"] {
        let value = if key == "bootstrap" {
            "\"x\"\n\"s3cret\" = 1"
        } else {
            "\"${vault:kafka#password}\""
        };
        let text = format!(
            "[kafka]\n{key} = {value}\n[kafka.properties]\na = \"${{vault:kafka#password}}\"\n"
        );
        let file = resolved(&text).await.unwrap();
        let line = file.section::<Kafka>("kafka").unwrap_err().to_string();
        assert!(!line.contains("s3cret"), "{line}");
    }
}

#[test]
fn an_owner_can_refuse_a_value_with_its_line() {
    let file = file("[source]\n[source.snapshot]\nchunk_rows = 0\n");
    assert_eq!(
        file.refuse("source", "snapshot.chunk_rows", "must be at least 1").to_string(),
        "causeway.toml:3: [source] snapshot.chunk_rows: must be at least 1"
    );
}
