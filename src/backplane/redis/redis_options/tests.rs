//! Tests of connection strings and URLs: what is supported, ignored and refused, and that no secret is shown.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::mask::mask;

fn tcp(host: &str, port: u16) -> RedisEndpoint {
    RedisEndpoint::Tcp { host: host.to_owned(), port }
}

fn parsed(text: &str) -> RedisOptions {
    RedisOptions::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn problems(text: &str) -> String {
    RedisOptions::parse(text)
        .map(|options| format!("accepted: {options:?}"))
        .unwrap_or_else(|error| error.problems().collect::<Vec<_>>().join("\n"))
}

#[test]
fn endpoints_are_parsed() {
    for (text, endpoints) in [
        ("testredis.example.com", vec![tcp("testredis.example.com", 6379)]),
        ("host:7000,other:7001, host:7000 ,", vec![tcp("host", 7000), tcp("other", 7001)]),
        ("host,ssl=true", vec![tcp("host", 6380)]),
        ("[::1]:7000,::1,[fe80::1]", vec![tcp("::1", 7000), tcp("::1", 6379), tcp("fe80::1", 6379)]),
        (".:7000", vec![tcp("localhost", 7000)]),
        ("!/run/r.sock", vec![RedisEndpoint::Unix("/run/r.sock".into())]),
        ("!@name", vec![RedisEndpoint::Unix("\0name".into())]),
        ("allowAdmin=true", vec![tcp("127.0.0.1", 6379)]),
        ("redis://", vec![tcp("127.0.0.1", 6379)]),
        ("redis://host", vec![tcp("host", 6379)]),
        ("rediss://host/", vec![tcp("host", 6379)]),
        ("redis://[::1]:7000/2", vec![tcp("::1", 7000)]),
        ("unix:///run/r.sock?db=3", vec![RedisEndpoint::Unix("/run/r.sock".into())]),
    ] {
        assert_eq!(parsed(text).endpoints, endpoints, "{text}");
    }
    assert_eq!(parsed("[::1]:7000").endpoints_text(), "[::1]:7000");
    assert_eq!(parsed("!@name").endpoints_text(), "@name");
}

#[test]
fn keys_are_case_insensitive_and_the_last_value_wins() {
    let options = parsed(
        "h, ABORTCONNECT=yes,asyncTimeout=1500,connectTimeout=2500,connectRetry=7,keepAlive=2,defaultDatabase=4,\
         name=n,user=u,password=old,password=a=b==,channelPrefix=My:App,protocol=RESP3,setlib=off,$CLIENT=,\
         ssl=true,sslHost=cert.example,sslProtocols=Tls12",
    );
    assert!(options.abort_connect && !options.set_library && !options.use_client_command);
    assert_eq!(options.command_timeout, Duration::from_millis(1500));
    assert_eq!(options.connect_timeout, Duration::from_millis(2500));
    assert_eq!((options.connect_retry, options.database), (7, 4));
    assert_eq!(options.keep_alive, Duration::from_secs(2));
    assert_eq!(options.client_name.as_deref(), Some("n"));
    assert_eq!((options.user.as_deref(), options.password), (Some("u"), Some(Secret("a=b==".to_owned()))));
    assert_eq!(options.channel_prefix, "My:App");
    assert_eq!(options.resp, RespVersion::Resp3);
    assert_eq!(options.tls, Some(TlsOptions { host: Some("cert.example".to_owned()), tls12: true, tls13: false }));
    assert_eq!(options.notes, [""; 0]);
}

#[test]
fn urls_are_parsed() {
    let options =
        parsed("rediss://us%40er:p%2Cw%25:d@host:7000/5?channelPrefix=My%20App&abortConnect=true&syncTimeout=1");
    assert_eq!((options.user.as_deref(), options.password), (Some("us@er"), Some(Secret("p,w%:d".to_owned()))));
    assert_eq!((options.database, options.channel_prefix.as_str(), options.abort_connect), (5, "My App", true));
    assert!(options.tls.is_some());
    assert_eq!(options.notes.len(), 1);
    assert_eq!(parsed("redis://:p+w@h").password, Some(Secret("p+w".to_owned())));
    for (text, problem) in [
        ("redis://host/x", "database number"),
        ("redis://host:x", "HOST:PORT"),
        ("redis://secret@host", "without a colon"),
        ("redis://:%zz@host", "percent-encoded"),
        ("redis+sentinel://h", "Sentinel is not supported"),
        ("redis+cluster://h", "Cluster URLs are not supported"),
        ("http://h", "redis, rediss or unix"),
        ("unix://relative", "absolute path"),
        ("redis://h:7000,abortConnect=true", "follow a '?'"),
        ("redis://h?abortconect=true", "Did you mean 'abortConnect'?"),
    ] {
        assert!(problems(text).contains(problem), "{text}: {}", problems(text));
    }
}

#[test]
fn azure_hosts_imply_tls() {
    assert!(parsed("x.redis.cache.windows.net:6380").tls.is_some());
    assert!(parsed("x.redis.cache.windows.net:6379").tls.is_none());
    assert!(parsed("x.redis.cache.windows.net:6380,ssl=false").tls.is_none());
    assert!(parsed("x.westeurope.redis.azure.net:10000").tls.is_some());
}

#[test]
fn every_ignored_key_has_a_note() {
    let text = "h,syncTimeout=1,allowAdmin=1,checkCertificateRevocation=0,configChannel=,configCheckSeconds=5,highIntegrity=true,\
                highPriorityThreads=1,preserveAsyncOrder=1,resolveDns=1,responseTimeout=1,sentinelUser=a,sentinelPassword=hunter2,\
                tcpKeepAlive=1,tiebreaker=,version=6.0,writeBuffer=1,$INFO=,$CONFIG=X,proxy=None,$PING=ping";
    let notes = check_connection(text).unwrap();
    assert_eq!(notes.len(), 18, "{notes:#?}");
    assert!(notes.iter().all(|note| note.contains("accepted without effect: ")));
    assert!(!notes.concat().contains("hunter2"));
}

#[test]
fn errors_name_valid_values() {
    for (text, problem) in [
        ("", "'localhost:6379'"),
        ("h,abortConect=true", "Keyword 'abortConect' is not supported. Did you mean 'abortConnect'?"),
        ("h,wibble=1", "Keyword 'wibble' is not supported."),
        ("h,ssl=maybe", "Keyword 'ssl' requires a boolean value; the value 'maybe' is not recognised."),
        ("h,asyncTimeout=x", "Keyword 'asyncTimeout' requires an integer value; the value 'x' is not recognised."),
        ("h,asyncTimeout=0", "Keyword 'asyncTimeout' has a minimum value of '1'; the value '0' is not permitted."),
        ("h,protocol=4", "'resp2' or 'resp3'"),
        ("h,proxy=Twemproxy", "connect to Redis directly"),
        ("h,proxy=Envoyproxy", "publish and subscribe"),
        ("h,serviceName=mymaster", "Sentinel is not supported"),
        ("h,tunnel=http:proxy:8080", "'tunnel' is not supported"),
        ("h,sslProtocols=Tls11", "'Tls12', 'Tls13'"),
        ("h,$PUBLISH=pub", "sends PUBLISH"),
        ("h,$CLIENT=c", "sends CLIENT"),
        ("h,user=u", "without 'password'"),
        ("h:port", "Item 1 is neither"),
        ("h:0", "Item 1 is neither"),
        ("two words", "Item 1 is neither"),
        ("h,!", "Item 2 is neither"),
        ("h,password=hun,ter2", "%2C"),
        ("redis://hunter2@h", ":PASSWORD@HOST or USER:PASSWORD@HOST"),
    ] {
        let problems = problems(text);
        assert!(problems.contains(problem), "{text}: {problems}");
        // Everything printed about the configuration goes through the mask, which must leave these texts intact.
        assert_eq!(mask(&problems), problems, "{text}");
    }
    assert_eq!(problems("h,a=1,b=2,ssl=x").lines().count(), 3, "all at once");
}

#[test]
fn no_error_or_note_contains_a_secret() {
    // A comma inside a password splits it into two items.
    for text in [
        "h,password=hun,ter2",
        "h,password=hun,ter2=x",
        "h,password=hun,ter 2",
        "h,sentinelPassword=hun,ter2",
        "h,password=hun,!",
    ] {
        let problems = problems(text);
        assert!(
            problems.contains("%2C") && problems.contains("Item 3") && !problems.contains("ter"),
            "{text}: {problems}"
        );
    }
    assert_eq!(parsed("h,password=hun,other:7000").endpoints.len(), 2);
    for text in ["h,password=hunter2", "redis://u:hunter2@h"] {
        assert!(!format!("{:?}", parsed(text)).contains("hunter2"));
    }
    for text in [
        "redis://u:hunter2@h/x",
        "redis://u:hunter2@h:x",
        "redis://hunter2@h",
        "hunter2://h",
        "redis://u:hunter2%@h",
        "redis://u:x?hunter2@h",
        "redis://u:hunter2#@h",
    ] {
        assert!(!problems(text).contains("hunter2"), "{text}: {}", problems(text));
    }
}
