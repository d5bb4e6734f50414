//! No secret in any output: not in the effective configuration, not in warnings, not in errors, not in debug output.

use super::*;

/// Everything that a load can say.
fn output(result: &Result<Loaded, Invalid>) -> String {
    match result {
        Ok(loaded) => {
            format!("{}\n{}\n{:?}", effective::print(loaded), loaded.warnings.join("\n"), loaded.config.backplane)
        }
        Err(invalid) => format!("{:?}\n{}", invalid, problems(result.clone()).join("\n")),
    }
}

#[test]
fn a_password_is_never_told() {
    let connections = [
        "db:6379,password=hunter2,ssl=true",
        "db:6379, Password = hunter2",
        "redis://me:hunter2@db:6379/0",
        "rediss://:hunter2@db",
        "redis://hunter2@db",
        "redis://db?password=hunter2",
        "sentinel:26379,serviceName=m,sentinelPassword=hunter2",
    ];
    // Where a secret belongs, and wrong places that people put it in.
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
    ];
    let mut told = 0;
    for connection in connections {
        for key in keys {
            let source = format!("{key} = \"{connection}\"\n[hubs.b]\n");
            let name = format!("HUBPLANE_{}", key.replace('.', "__").to_uppercase());
            let flags = |flag: &str| Flags {
                redis: (flag == "redis").then(|| connection.to_owned()),
                listen: (flag == "listen").then(|| connection.to_owned()),
                log_format: (flag == "format").then(|| connection.to_owned()),
                config: (flag == "config").then(|| connection.into()),
                ..Flags::default()
            };
            let environment = [(name.as_str(), connection)];
            let broken = format!("{key} = {connection}\n");
            for result in [
                file(&source),
                file(&format!("{key} = [\"{connection}\"]\n[hubs.b]\n")),
                file(&format!("{key} = {{ x = \"{connection}\" }}\n[hubs.b]\n")),
                file(&broken),
                with_environment(&environment, "[hubs.b]"),
                with_environment(&environment, &source),
                with_environment(&environment, "[backplane]\ntype = \"memory\"\n[hubs.b]"),
                Given { flags: flags("redis"), environment: &environment, ..Given::default() }.load(),
                Given { flags: flags("listen"), ..Given::default() }.load(),
                Given { flags: flags("format"), ..Given::default() }.load(),
                Given { flags: flags("config"), ..Given::default() }.load(),
            ] {
                let output = output(&result);
                assert!(!output.contains("hunter2"), "{key} = {connection}: {output}");
                told += output.matches("***").count();
            }
        }
    }
    assert!(told > 100, "the outputs hold the masked values: {told}");
}

#[test]
fn the_rest_of_a_connection_is_told() {
    let loaded = file("[backplane]\nconnection = \"db:6379,user=me,password=hunter2,ssl=true\"\n[hubs.a]").unwrap();
    let printed = effective::print(&loaded);
    assert!(printed.contains("backplane.connection = \"db:6379,user=me,password=***,ssl=true\""), "{printed}");
    let BackplaneConfig::Redis { connection, .. } = loaded.config.backplane else { panic!("redis") };
    assert!(connection.contains("password=hunter2"), "what the server gets is whole");
}
