//! No output contains a secret: not the effective configuration, warnings, errors, nor debug output.

use super::*;

/// All texts that loading can produce.
fn output(result: &Result<LoadedConfig, ConfigError>) -> String {
    match result {
        Ok(loaded) => {
            format!("{}\n{}\n{:?}", effective::print(loaded), loaded.warnings.join("\n"), loaded.config.backplane)
        }
        Err(invalid) => format!("{:?}\n{}", invalid, problems(result.clone()).join("\n")),
    }
}

#[test]
fn passwords_never_appear_in_output() {
    let connections = [
        "db:6379,password=hunter2,ssl=true",
        "db:6379, Password = hunter2",
        "redis://me:hunter2@db:6379/0",
        "rediss://:hunter2@db",
        "redis://hunter2@db",
        "redis://db?password=hunter2",
        "sentinel:26379,serviceName=m,sentinelPassword=hunter2",
    ];
    // The key that secrets belong into, and keys that people put them into by mistake.
    let keys = [
        "backplane.connection",
        "backplane.type",
        "backplane.channel_prefix",
        "listen",
        "log",
        "cors_origins",
        "demo",
        "backplane.password",
        "hubs.a.path",
        "shutdown_timeout",
        "auth",
        "auth.keys",
        "auth.jwks_url",
        "auth.issuer",
        "auth.audience",
        "auth.clock_skew",
        "auth.user_id_claim",
        "hubs.a.authorize",
        "hubs.a.allowed_groups",
    ];
    let mut masked = 0;
    let mut check = |what: &str, result: Result<LoadedConfig, ConfigError>| {
        let output = output(&result);
        assert!(!output.contains("hunter2"), "{what}: {output}");
        masked += output.matches("***").count();
    };
    for connection in connections {
        let given = |flag: &str| (flag == "this").then(|| connection.to_owned());
        for [redis, listen, format, prefix] in
            [["this", "", "", ""], ["", "this", "", ""], ["", "", "this", ""], ["this", "", "", "this"]]
        {
            let flags = Flags {
                config: None,
                redis: given(redis),
                listen: given(listen),
                log: None,
                log_format: given(format),
                channel_prefix: given(prefix),
            };
            check("a flag", Given { flags, ..Given::default() }.load());
        }
        let flags = Flags { config: Some(connection.into()), ..Flags::default() };
        check("--config", Given { flags, ..Given::default() }.load());
        for key in keys {
            let source = format!("{key} = \"{connection}\"\n[hubs.b]\n");
            let name = format!("HUBPLANE_{}", key.replace('.', "__").to_uppercase());
            let environment = [(name.as_str(), connection)];
            check(key, file(&source));
            check(key, file(&format!("{key} = [\"{connection}\"]\n[hubs.b]\n")));
            check(key, file(&format!("{key} = {{ x = \"{connection}\" }}\n[hubs.b]\n")));
            check(key, file(&format!("{key} = {connection}\n")));
            check(&name, with_environment(&environment, "[backplane]\ntype = \"memory\"\n[hubs.b]"));
        }
    }
    assert!(masked > 100, "the outputs contain the masked values: {masked}");
}

#[test]
fn the_rest_of_a_connection_string_appears() {
    let loaded = file("[backplane]\nconnection = \"db:6379,user=me,password=hunter2,ssl=true\"\n[hubs.a]").unwrap();
    let printed = effective::print(&loaded);
    assert!(printed.contains("backplane.connection = \"db:6379,user=me,password=***,ssl=true\""), "{printed}");
    let BackplaneConfig::Redis { connection, .. } = loaded.config.backplane else { panic!("redis") };
    assert!(connection.contains("password=hunter2"), "the server gets the unmasked text");
}
