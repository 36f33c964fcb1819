//! References to HashiCorp Vault, against a server that answers as it does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has found something"
)]

use std::time::{Duration, Instant};

use causeway_service::{exit, settings::File};
use causeway_tests::vault::{Fault, ROOT_TOKEN, Vault};
use causeway_vault::{Config, Resolver, VaultError, resolver};
use serde_json::json;

/// The `[vault]` section for a server, with more lines.
fn config(address: &str, lines: &str) -> Config {
    let text = format!("[vault]\naddress = \"{address}\"\ntimeout_ms = 2000\n{lines}\n");
    File::parse("causeway.toml", &text).unwrap().section("vault").unwrap()
}

async fn by_token(vault: &Vault, token: &str) -> Resolver {
    resolver(Some(&config(vault.address(), &format!("token = \"{token}\"")))).await.unwrap()
}

async fn by_role(vault: &Vault, role: &str, secret: &str) -> Resolver {
    let lines = format!("role_id = \"{role}\"\nsecret_id = \"{secret}\"");
    resolver(Some(&config(vault.address(), &lines))).await.unwrap()
}

async fn refused(resolver: &Resolver, reference: &str) -> (VaultError, String) {
    let error = resolver.lookup(reference).await.unwrap_err();
    let line = exit::chain_line(&error);
    assert!(!line.contains('\n'), "{line}");
    (error, line)
}

#[tokio::test]
async fn a_token_reads_texts_numbers_and_truth_values() {
    let vault = Vault::start().await.unwrap();
    vault.put("shop/sqlserver", json!({"password": "old"}));
    vault.put("shop/sqlserver", json!({"password": "p\u{e4}ss \"1\"", "port": 1433, "tls": true}));
    let resolver = by_token(&vault, ROOT_TOKEN).await;
    for (key, value) in [("password", "p\u{e4}ss \"1\""), ("port", "1433"), ("tls", "true")] {
        let found = resolver.lookup(&format!("vault:shop/sqlserver#{key}")).await.unwrap();
        assert_eq!(found, value);
    }
    // One secret is read once, however many of its keys are used.
    assert_eq!(vault.asked(), ["GET /v1/secret/data/shop/sqlserver"]);
}

#[tokio::test]
async fn approle_logs_in_once_and_reads() {
    let vault = Vault::start().await.unwrap();
    vault.approle("role-1", "secret-1", &["shop/*"]);
    vault.put("shop/a", json!({"k": "1"}));
    vault.put("shop/b", json!({"k": "2"}));
    let resolver = by_role(&vault, "role-1", "secret-1").await;
    assert_eq!(vault.asked(), Vec::<String>::new(), "nothing is asked before a secret is");
    assert_eq!(resolver.lookup("vault:shop/a#k").await.unwrap(), "1");
    assert_eq!(resolver.lookup("vault:/shop/b#k").await.unwrap(), "2");
    assert_eq!(
        vault.asked(),
        ["POST /v1/auth/approle/login", "GET /v1/secret/data/shop/a", "GET /v1/secret/data/shop/b"]
    );
}

#[tokio::test]
async fn each_refusal_says_what_to_do_and_shows_no_secret() {
    let vault = Vault::start().await.unwrap();
    vault.token("hvs.limited", &["shop/a"]);
    vault.put("shop/a", json!({"user": "sa", "password": "hunter2", "list": [1]}));
    vault.put("shop/gone", json!({"k": "v"}));
    vault.delete("shop/gone");
    let root = by_token(&vault, ROOT_TOKEN).await;
    let limited = by_token(&vault, "hvs.limited").await;
    let wrong = by_token(&vault, "hvs.wrong").await;
    let role = by_role(&vault, "role-1", "hunter3").await;
    for (resolver, reference, says) in [
        (&root, "vault:shop/b#k", "vault kv get -mount=secret shop/b"),
        (&root, "vault:shop/gone#k", "its newest version is deleted"),
        (&root, "vault:shop/a#pasword", "no key pasword; it has list, password, user"),
        (&root, "vault:shop/a#list", "the value of list is not a text"),
        (&limited, "vault:shop/b#k", "no `read` on secret/data/shop/b"),
        (&wrong, "vault:shop/a#k", "the token is invalid or expired"),
        (&role, "vault:shop/a#k", "check role_id and secret_id"),
        (&root, "vault:../sys/seal#k", "is not a reference"),
    ] {
        let (error, line) = refused(resolver, reference).await;
        assert!(line.contains(says), "{line}");
        assert!(!line.contains("hunter"), "{line}");
        assert!(!error.is_transient(), "{line}");
    }
}

#[tokio::test]
async fn a_vault_in_trouble_is_told_from_a_wrong_reference() {
    let vault = Vault::start().await.unwrap();
    vault.put("shop/a", json!({"k": "v"}));
    let resolver = by_token(&vault, ROOT_TOKEN).await;
    for (fault, says, transient) in [
        (Fault::Sealed, "is sealed or not ready; unseal it", true),
        (Fault::Broken, "HTTP status 500: internal error", true),
        (Fault::NotVault, "not as Vault's API does", false),
    ] {
        vault.fail(fault);
        let (error, line) = refused(&resolver, "vault:shop/a#k").await;
        assert!(line.contains(says), "{line}");
        assert_eq!(error.is_transient(), transient, "{line}");
    }
    vault.fail(Fault::None);
    assert_eq!(resolver.lookup("vault:shop/a#k").await.unwrap(), "v");
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lines = "token = \"t\"";
    let absent = resolver(Some(&config(&format!("http://{free}"), lines))).await.unwrap();
    let (error, line) = refused(&absent, "vault:a#b").await;
    assert!(line.contains(&format!("Vault at http://{free} cannot be reached")), "{line}");
    assert!(line.contains("refused"), "the cause is kept: {line}");
    assert!(error.is_transient());

    let vault = Vault::start().await.unwrap();
    vault.fail(Fault::Slow(Duration::from_secs(60)));
    let slow = format!("{lines}\n");
    let text = config(vault.address(), &slow);
    let slow = resolver(Some(&Config { timeout_ms: 200, ..text })).await.unwrap();
    let start = Instant::now();
    let (_, line) = refused(&slow, "vault:a#b").await;
    assert!(line.contains("cannot be reached"), "{line}");
    assert!(start.elapsed() < Duration::from_secs(20), "it gave up in time");
}

#[tokio::test]
async fn a_whole_configuration_is_filled_in_as_a_main_does_it() {
    let vault = Vault::start().await.unwrap();
    vault.approle("role-1", "secret-1", &["shop/*"]);
    vault.put("shop/kafka", json!({"password": "k\"1"}));
    let folder = tempfile::tempdir().unwrap();
    let id = folder.path().join("secret-id");
    std::fs::write(&id, "secret-1\n").unwrap();
    let path = folder.path().join("causeway.toml");
    let text = format!(
        "[vault]\naddress = \"{}\"\nrole_id = \"role-1\"\nsecret_id = \"${{file:{}}}\"\n\
         [kafka]\nbootstrap = \"x\"\npassword = \"${{vault:shop/kafka#password}}\"\n",
        vault.address(),
        id.display()
    );
    std::fs::write(&path, text).unwrap();

    let mut file = File::load(&path).unwrap();
    let secrets = resolver(file.optional("vault").unwrap().as_ref()).await.unwrap();
    let secrets = &secrets;
    file.resolve(|name| async move { secrets.lookup(&name).await }).await.unwrap();

    let kafka: toml::Table = file.section("kafka").unwrap();
    assert_eq!(kafka["password"].as_str(), Some("k\"1"));

    vault.fail(Fault::Sealed);
    let mut file = File::load(&path).unwrap();
    let secrets = resolver(file.optional("vault").unwrap().as_ref()).await.unwrap();
    let secrets = &secrets;
    let error = file.resolve(|name| async move { secrets.lookup(&name).await }).await.unwrap_err();
    let line = exit::chain_line(&error);
    assert!(line.contains("causeway.toml:7: [kafka] password: cannot fill in ${vault:shop/kafka#password}: log in to Vault"), "{line}");
}
