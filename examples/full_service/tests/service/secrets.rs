//! Secrets in all that the service shows: the log at its most verbose, errors, the admin port, the answers.

use std::fs;

use rustix::process::Signal;

use crate::support::{
    api, client,
    postgres::Database,
    redis::Redis,
    service::{Service, command, refused},
};

/// Long enough for a token, and nowhere else in what the service shows.
const SECRET: &str = "hunter2-of-the-admins";

fn assert_hidden(shown: &str, what: &str) {
    assert!(!shown.contains("hunter2"), "{what}: {shown}");
}

#[test]
fn wrong_secrets_are_refused_without_their_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let url = format!("mysql://user:{SECRET}@db/shop");
    let wrong = file("wrong", &url);
    let large = file("large", &SECRET.repeat(4_000));
    let port = format!("postgres://user:{SECRET}@db:port/shop");
    let mode = format!("postgres://user:{SECRET}@db/shop?sslmode={SECRET}");
    let typo = format!("postgres://user@db/shop?pasword={SECRET}");
    let redis = format!("http://user:{SECRET}@redis");
    let redis_port = format!("redis://:{SECRET}@redis:99999/0");
    let elsewhere = format!("postgres://user:{SECRET}@db/shop");
    for set in [
        vec![("DATABASE_URL", SECRET)],
        vec![("DATABASE_URL", &*url)],
        vec![("DATABASE_URL", &port)],
        vec![("DATABASE_URL", &mode)],
        vec![("DATABASE_URL", &typo)],
        vec![("DATABASE_URL", &url), ("DATABASE_URL_FILE", &wrong)],
        vec![("DATABASE_URL_FILE", &wrong)],
        vec![("DATABASE_URL_FILE", &large)],
        vec![("REDIS_URL", SECRET)],
        vec![("REDIS_URL", &redis)],
        vec![("REDIS_URL", &redis_port)],
        vec![("ADMIN_TOKEN", "hunter2")],
        vec![("ADMIN_TOKEN", "hunter2 and hunter2 again")],
        // In the wrong variable, whose value is shown.
        vec![("CORS_ORIGINS", &elsewhere)],
        vec![("LOG_LEVEL", &elsewhere)],
    ] {
        let (code, output) = refused(&set);
        assert_eq!(code, Some(2), "{set:?}: {output}");
        assert!(
            output.contains(set[0].0.trim_end_matches("_FILE")),
            "{output}"
        );
        assert_hidden(&output, set[0].0);
    }
    let env_file = file("env", &format!("PORT=0\nDATABASE_URL='{url}\n"));
    let output = command(&[])
        .args(["--env-file", &env_file])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("line 2"), "{stderr}");
    assert_hidden(&stderr, "the env file");
}

#[test]
fn running_service_shows_no_secret() {
    let database = Database::create();
    let redis = Redis::start();
    // Neither of them asks for it.
    let url = database
        .url
        .replace("postgres@", &format!("postgres:{SECRET}@"));
    let redis_url = redis
        .url
        .replace("redis://", &format!("redis://:{SECRET}@"));
    let environment = [
        ("DATABASE_URL", &*url),
        ("REDIS_URL", &redis_url),
        ("ADMIN_TOKEN", SECRET),
        ("MIGRATE", "apply"),
        ("LOG_LEVEL", "trace"),
        ("LAME_DUCK", "1ms"),
    ];
    let settings = command(&environment)
        .arg("--print-config")
        .output()
        .expect("it runs");
    let settings = String::from_utf8_lossy(&settings.stdout).into_owned();
    assert!(settings.contains("DATABASE_URL=set"), "{settings}");
    assert_hidden(&settings, "the settings");

    let service = Service::start_ready(&environment);
    api::user(service.address, "ada@example.com");
    let retry = |token: &str| {
        let headers = format!("authorization: Bearer {token}\r\n");
        let path = "/admin/jobs/00000000-0000-0000-0000-000000000000/retry";
        api::send(service.admin(), "POST", path, &headers, "")
            .head
            .status
    };
    assert_eq!(retry(SECRET), 404, "the token is known");
    assert_eq!(retry("hunter2-with-a-typo"), 401);
    // A lost connection, and an answer that the handler did not expect.
    database.ask(concat!(
        "ALTER TABLE users RENAME TO nobody; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name LIKE '",
        env!("CARGO_PKG_NAME"),
        "%'"
    ));
    let answer = client::get(service.address, "/api/v1/users").expect("an answer");
    assert!(answer.head.status >= 500, "{}", answer.head.status);
    assert_hidden(answer.text(), "the answer");
    service.signal(Signal::TERM);
    for path in ["/snapshot", "/metrics", "/readyz", "/"] {
        if let Ok(answer) = client::get(service.admin(), path) {
            assert_hidden(answer.text(), path);
        }
    }
    let ended = service.ended();
    let lines = ended.output.len();
    assert!(lines > 100, "a verbose log: {lines}");
    assert_hidden(&ended.output.join("\n"), "standard output");
    assert_hidden(&ended.errors.join("\n"), "standard error");
}

#[test]
fn database_that_is_away_is_named_without_its_password() {
    let url = format!("postgres://user:{SECRET}@127.0.0.1:1/shop");
    let service = Service::start(&[("DATABASE_URL", &url), ("LAME_DUCK", "off")]);
    let warned = "the database is away; the start waits for it";
    let warning = service.logged("message", warned).to_string();
    assert!(warning.contains("refused"), "{warning}");
    let ready = client::get(service.admin(), "/readyz").expect("an answer");
    assert_eq!(ready.head.status, 503);
    assert_hidden(ready.text(), "/readyz");
    service.signal(Signal::TERM);
    let ended = service.ended();
    assert_hidden(&ended.output.join("\n"), "standard output");
    assert_hidden(&ended.errors.join("\n"), "standard error");

    let status = command(&[("DATABASE_URL", &url)])
        .args(["migrate", "status"])
        .output()
        .expect("it runs");
    assert_eq!(status.status.code(), Some(1));
    assert_hidden(&String::from_utf8_lossy(&status.stderr), "migrate");
}
