//! Tests of TLS against a real Redis, with certificates that `openssl` generates. Hubplane uses the system's root
//! certificates, so the part that must trust the generated one runs in a process of its own with `SSL_CERT_FILE` set.

use std::path::Path;
use std::process::Command;

use testkit::Redis;
use testkit::redis::free_port;

use super::kit::Node;
use crate::backplane::redis::{RedisBackplane, RedisOptions};
use crate::backplane::{Channel, LinkState};

/// The environment variable with the port of the server, set in the process that trusts its certificate.
const PORT: &str = "HUBPLANE_TEST_TLS_PORT";

fn openssl(folder: &Path, args: &str) {
    let output = Command::new("openssl").args(args.split(' ')).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs the openssl command: {error}"));
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tls_accepts_only_a_trusted_certificate() {
    if let Ok(port) = std::env::var(PORT) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(connects_with_a_trusted_certificate(&port));
    }
    testkit::needs!("openssl", "redis-server");
    let folder = std::env::temp_dir().join(format!("hubplane-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    openssl(&folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca");
    openssl(&folder, "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server");
    std::fs::write(folder.join("names"), "subjectAltName=DNS:redis.test,IP:127.0.0.1\n").unwrap();
    openssl(
        &folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names",
    );

    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let port = free_port();
    let (tls_port, certificate, key, ca) = (port.to_string(), file("server.pem"), file("server.key"), file("ca.pem"));
    let mut redis = Redis::with(&[
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "hunter2",
    ]);
    // Some builds of Redis have no TLS. When REDIS_SERVER names one of them, run the tests with `--skip tls`.
    redis.run();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backplane::redis::tests::tls::tls_accepts_only_a_trusted_certificate", "--nocapture"])
        .env("SSL_CERT_FILE", &ca)
        .env(PORT, &tls_port)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_dir_all(folder).unwrap();
}

/// The part that runs in a process of its own, which trusts the generated certificate.
async fn connects_with_a_trusted_certificate(port: &str) {
    for text in [
        format!("127.0.0.1:{port},ssl=true,password=hunter2"),
        format!("127.0.0.1:{port},ssl=true,password=hunter2,sslHost=redis.test,sslProtocols=Tls12,protocol=resp3"),
        format!("rediss://:hunter2@127.0.0.1:{port}"),
    ] {
        let mut node = Node::on_redis(RedisOptions::parse(&text).unwrap(), "a").await;
        node.wait_for_link(LinkState::Up).await;
        node.subscribe([Channel::All]).await;
        // Longer than a TLS record and than one read.
        let long = "x".repeat(300_000);
        assert_eq!(node.publish_text(&long).await, Ok(1));
        assert_eq!(node.next_text().await, long);
    }
    for (text, problem) in [
        (format!("127.0.0.1:{port},ssl=true,password=hunter2,sslHost=other.test"), "not valid for name"),
        (format!("127.0.0.1:{port},password=hunter2"), "127.0.0.1"),
    ] {
        let options = RedisOptions::parse(&format!("{text},abortConnect=true,connectRetry=1")).unwrap();
        let error = RedisBackplane::connect(options, "a".into(), Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains(problem) && !error.contains("hunter2"), "{error}");
    }
}
