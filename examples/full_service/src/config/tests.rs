use super::*;

fn settings(
    environment: &[(&str, &str)],
    file: Option<EnvFile>,
) -> Result<(Config, Settings), Problems> {
    let lookup = |name: &str| {
        let (_, value) = environment.iter().find(|(variable, _)| *variable == name)?;
        Some(OsString::from(value))
    };
    Config::from_sources(&Sources::new(&lookup, file))
}

fn read(environment: &[(&str, &str)]) -> Result<Config, Problems> {
    settings(environment, None).map(|(config, _)| config)
}

#[test]
fn defaults_match_the_documentation() {
    let config = read(&[]).expect("defaults");
    let seconds = Duration::from_secs;
    assert_eq!(config.address.to_string(), "0.0.0.0:8080");
    assert_eq!(config.admin, "127.0.0.1:8081".parse().ok());
    assert_eq!(config.read_header_timeout, Some(seconds(5)));
    assert_eq!(config.response_head_timeout, Some(seconds(30)));
    assert_eq!(config.read_timeout, None);
    assert_eq!(config.write_timeout, None);
    assert_eq!(config.idle_timeout, Some(seconds(120)));
    assert_eq!(config.request_timeout, Some(seconds(10)));
    let timeouts = Timeouts::default().response_head(seconds(30));
    assert_eq!(config.timeouts(), timeouts);
    assert_eq!(config.body_limit, Some(1024 * 1024));
    assert!(config.trusted_proxies.is_empty());
    assert_eq!(config.client_ip_header, ClientIpHeader::XForwardedFor);
    assert_eq!(config.rate_limit, "100/s burst 200".parse().ok());
    assert!(config.redis.is_none() && config.flags.redis.is_none());
    assert_eq!(config.flags.refresh, seconds(10));
    assert_eq!(config.flags.cache, None);
    assert_eq!(config.lame_duck, seconds(5));
    assert_eq!(config.drain_timeout, seconds(15));
    assert_eq!(config.termination_grace, seconds(30));
    assert_eq!(config.last_scrape, None);
    assert_eq!(config.startup_delay, None);
    assert_eq!(config.log_level.to_string(), "info");
}

#[test]
fn go_totals_are_opt_in() {
    let set = [
        ("READ_TIMEOUT", "15s"),
        ("WRITE_TIMEOUT", "30s"),
        ("RESPONSE_HEAD_TIMEOUT", "off"),
    ];
    let seconds = Duration::from_secs;
    let timeouts = Timeouts::default()
        .response_head(None)
        .read(seconds(15))
        .write(seconds(30));
    assert_eq!(read(&set).expect("set").timeouts(), timeouts);
}

#[test]
fn empty_value_counts_as_unset() {
    assert_eq!(read(&[("PORT", "")]).expect("unset").address.port(), 8080);
}

#[test]
fn timeouts_can_be_off_and_budgets_cannot() {
    let off = [
        "ADMIN_PORT",
        "WRITE_TIMEOUT",
        "REQUEST_TIMEOUT",
        "BODY_LIMIT",
        "RATE_LIMIT",
    ];
    let config = read(&off.map(|variable| (variable, "off"))).expect("off");
    assert_eq!(config.admin, None);
    assert_eq!(config.write_timeout, None);
    assert_eq!(config.request_timeout, None);
    assert_eq!(config.body_limit, None);
    assert_eq!(config.rate_limit, None);

    let problems = read(&[("DRAIN_TIMEOUT", "off")]).expect_err("a drain has an end");
    assert!(problems.to_string().contains("DRAIN_TIMEOUT=off"));
}

#[test]
fn sizes_have_units_or_are_bytes() {
    for (text, bytes) in [("0", 0), ("512", 512), ("1KiB", 1024), ("2MB", 2_000_000)] {
        let config = read(&[("BODY_LIMIT", text)]).expect(text);
        assert_eq!(config.body_limit, Some(bytes), "{text}");
    }
}

#[test]
fn no_wrong_secret_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let missing = folder
        .path()
        .join("missing")
        .to_str()
        .expect("a path")
        .to_owned();
    let directory = folder.path().to_str().expect("a path").to_owned();
    let large = file("large", &[b'x'; 70_000]);
    let binary = file("binary", b"hunter2\xff");
    let empty = file("empty", b"\n");
    let wrong = file("wrong", b"mysql://user:hunter2@db/shop\n");
    for (set, says) in [
        (
            vec![("REDIS_URL", "http://user:hunter2@redis")],
            "REDIS_URL=",
        ),
        (vec![("REDIS_URL", "hunter2")], "REDIS_URL="),
        (
            vec![("DATABASE_URL", "mysql://user:hunter2@db/shop")],
            "is no URL of SQLite or PostgreSQL",
        ),
        (
            vec![("DATABASE_URL", "hunter2")],
            "is no URL of SQLite or PostgreSQL",
        ),
        (
            vec![("DATABASE_URL", "postgres://user:hunter2@db:port/shop")],
            "DATABASE_URL=",
        ),
        (
            vec![("DATABASE_URL", "postgres://db/shop?sslmode=hunter2")],
            "unknown value … for `ssl_mode`",
        ),
        (
            vec![("DATABASE_URL", "postgres://db/shop?pasword=hunter2")],
            "has a parameter that is unknown",
        ),
        (vec![("ADMIN_TOKEN", "hunter2")], "too easy to guess"),
        (
            vec![("ADMIN_TOKEN", "hunter2hunter2 hunter2")],
            "too easy to guess",
        ),
        (
            vec![
                ("DATABASE_URL", "sqlite://hunter2.db"),
                ("DATABASE_URL_FILE", &wrong),
            ],
            "DATABASE_URL_FILE too",
        ),
        (
            vec![("DATABASE_URL_FILE", &wrong)],
            "is no URL of SQLite or PostgreSQL",
        ),
        (vec![("DATABASE_URL_FILE", &missing)], "cannot be read"),
        (vec![("DATABASE_URL_FILE", &directory)], "cannot be read"),
        (vec![("DATABASE_URL_FILE", &large)], "more than 64 KiB"),
        (vec![("DATABASE_URL_FILE", &binary)], "not valid UTF-8"),
        (vec![("ADMIN_TOKEN_FILE", &empty)], "empty file"),
    ] {
        let problems = read(&set).expect_err(says).to_string();
        assert!(problems.contains(says), "{set:?}: {problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn parameters_of_a_postgres_url_are_those_that_count() {
    for url in [
        "postgres://db/shop",
        "postgres://db/shop?",
        "postgres://db/shop?sslmode=require&options[search_path]=shop",
        "postgresql:///shop?host=/run/postgresql&user=ada&statement-cache-capacity=0",
    ] {
        assert!(read(&[("DATABASE_URL", url)]).is_ok(), "{url}");
    }
    for url in [
        "postgres://db/shop?sslmod=require",
        "postgres://db/shop?or=1",
        "postgres://db/shop?sslmode=require&channel_binding=require",
    ] {
        assert!(read(&[("DATABASE_URL", url)]).is_err(), "{url}");
    }
}

#[test]
fn a_database_outlasts_its_connections() {
    for url in [
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://shop.db?mode=memory",
        "sqlite://shop.db?mode=rwc&mode=memory&cache=shared",
        "sqlite:",
        "sqlite://?mode=rwc",
    ] {
        let problems = read(&[("DATABASE_URL", url)]).expect_err(url).to_string();
        assert!(problems.contains("in memory"), "{url}: {problems}");
    }
    for url in ["sqlite:shop.db", "sqlite://memory.db?mode=rwc"] {
        assert!(read(&[("DATABASE_URL", url)]).is_ok(), "{url}");
    }
}

#[test]
fn a_secret_comes_from_the_variable_a_file_or_the_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("database_url");
    std::fs::write(&path, "sqlite://from-file.db\n").expect("a file");
    let path = path.to_str().expect("a path");
    let directory = folder.path().to_str().expect("a path");
    let database = |set: &[(&str, &str)]| {
        let (config, settings) = settings(set, None).expect("a database");
        (config.database.expose().clone(), settings.to_string())
    };

    let (url, shown) = database(&[("DATABASE_URL", "sqlite://hunter2.db")]);
    assert_eq!(url, "sqlite://hunter2.db");
    assert!(
        shown.contains("DATABASE_URL=set  # environment\n") && !shown.contains("hunter2"),
        "{shown}"
    );
    let (url, shown) = database(&[("DATABASE_URL_FILE", path)]);
    assert_eq!(url, "sqlite://from-file.db");
    assert!(
        shown.contains(&format!("DATABASE_URL=set  # file {path}\n")),
        "{shown}"
    );
    let (url, shown) = database(&[("CREDENTIALS_DIRECTORY", directory)]);
    assert_eq!(url, "sqlite://from-file.db");
    assert!(
        shown.contains("DATABASE_URL=set  # credentials\n"),
        "{shown}"
    );
    assert!(
        shown.contains("PORT=8080  # default\n") && shown.contains("REDIS_URL=none  # default\n"),
        "{shown}"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let variables = [("PORT", "1111"), ("ADMIN_PORT", "2222")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let file = EnvFile {
        variables: variables.into(),
        shared: false,
    };
    let (config, settings) = settings(&[("PORT", "3333")], Some(file)).expect("settings");
    assert_eq!(
        (
            config.address.port(),
            config.admin.map(|admin| admin.port())
        ),
        (3333, Some(2222))
    );
    let shown = settings.to_string();
    assert!(shown.contains("PORT=3333  # environment\n"), "{shown}");
    assert!(shown.contains("ADMIN_PORT=2222  # env file\n"), "{shown}");
}

#[test]
fn the_schema_is_migrated_at_the_start_where_one_instance_has_it() {
    let migrate = |set: &[(&str, &str)]| read(set).expect("settings").migrate;
    assert_eq!(migrate(&[]), Migrate::Apply);
    assert_eq!(
        migrate(&[("DATABASE_URL", "postgres://db/shop")]),
        Migrate::Check
    );
    assert_eq!(
        migrate(&[("DATABASE_URL", "postgres://db/shop"), ("MIGRATE", "apply")]),
        Migrate::Apply
    );
    assert_eq!(migrate(&[("MIGRATE", "off")]), Migrate::Off);
}

#[test]
fn cors_takes_exact_origins() {
    let config = read(&[("CORS_ORIGINS", "https://a.example, http://localhost:3000")]);
    assert!(config.expect("origins").cors_origins.is_some());
    assert!(read(&[]).expect("defaults").cors_origins.is_none());
    for wrong in [
        "*",
        "https://*.example",
        "a.example",
        "https://a.example/",
        "https://",
    ] {
        assert!(read(&[("CORS_ORIGINS", wrong)]).is_err(), "{wrong}");
    }
}

#[test]
fn oversized_budgets_are_reported_with_other_errors() {
    let problems = read(&[("DRAIN_TIMEOUT", "40s"), ("PORT", "http")])
        .expect_err("40s does not fit 30s")
        .to_string();
    assert!(problems.contains("PORT=http"), "{problems}");
    assert!(problems.contains("TERMINATION_GRACE=30s"), "{problems}");
    assert!(problems.contains("lower drain to"), "{problems}");
}

#[test]
fn last_scrape_needs_an_admin_port() {
    let problems = read(&[("ADMIN_PORT", "off"), ("LAST_SCRAPE", "2s")])
        .expect_err("there is no port to scrape")
        .to_string();
    assert!(problems.contains("LAST_SCRAPE=2s"), "{problems}");
    assert!(problems.contains("ADMIN_PORT=off"), "{problems}");
    assert!(read(&[("LAST_SCRAPE", "1s")]).is_ok());
}

#[test]
fn lame_duck_may_be_off() {
    for off in ["off", "0s", "0ms"] {
        let config = read(&[("LAME_DUCK", off)]).expect(off);
        assert_eq!(config.lame_duck, Duration::ZERO, "{off}");
    }
    for wrong in [
        ("LAME_DUCK", "0"),
        ("DRAIN_TIMEOUT", "0s"),
        ("DRAIN_TIMEOUT", "off"),
    ] {
        assert!(read(&[wrong]).is_err(), "{wrong:?}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let wrong = [
        ("HOST", "localhost"),
        ("PORT", "http"),
        ("ADMIN_HOST", "admin"),
        ("ADMIN_PORT", "none"),
        ("READ_HEADER_TIMEOUT", "5"),
        ("RESPONSE_HEAD_TIMEOUT", "1 min"),
        ("READ_TIMEOUT", "0s"),
        ("WRITE_TIMEOUT", "400h"),
        ("IDLE_TIMEOUT", "soon"),
        ("LAME_DUCK", "-5s"),
        ("DRAIN_TIMEOUT", "-1s"),
        ("LAST_SCRAPE", "15"),
        ("TERMINATION_GRACE", "30 s"),
        ("STARTUP_DELAY", "1s1s"),
        ("WEBSOCKET_IDLE", "0s"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("RATE_LIMIT", "100/sec"),
        ("REQUEST_TIMEOUT", "10"),
        ("BODY_LIMIT", "1 MiB"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("CLIENT_IP_HEADER", "x forwarded for"),
        ("CORS_ORIGINS", "*"),
        ("DATABASE_POOL", "0"),
        ("DATABASE_ACQUIRE_TIMEOUT", "off"),
        ("DATABASE_STATEMENT_TIMEOUT", "5"),
        ("MIGRATE", "yes"),
        ("JOBS", "-1"),
        ("JOB_LEASE", "0s"),
        ("FLAGS_REFRESH", "off"),
        ("FLAGS_FILE", "/nowhere/flags.toml"),
    ];
    let problems = read(&wrong).expect_err("nothing is right").to_string();
    for (variable, value) in wrong {
        assert!(
            problems.contains(&format!("{variable}={value}\n")),
            "{problems}"
        );
    }
}

#[test]
fn a_name_in_the_file_that_is_no_setting_is_a_warning() {
    let file = EnvFile::parse("PORT=9000\nREQEST_TIMEOUT=5s\nPORT_FILE=port\n");
    let file = file.expect("a file");
    let (config, _) = Config::with_file(&|_| None, "a.env", file).expect("settings");
    assert_eq!(config.address.port(), 9000);
    let ignored = |name: &str| format!("a.env sets {name}, which is no setting: it has no effect");
    let expected = ["PORT_FILE", "REQEST_TIMEOUT"].map(ignored);
    assert_eq!(config.warnings, expected);
}

#[test]
fn the_file_of_a_secret_is_a_setting() {
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "a-token-of-32-characters-or-more!").expect("written");
    let file = format!("ADMIN_TOKEN_FILE={}\n", token.path().display());
    let file = EnvFile::parse(&file).expect("a file");
    let (config, _) = Config::with_file(&|_| None, "a.env", file).expect("settings");
    assert!(config.admin_token.is_some());
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn a_long_wrong_value_is_shortened() {
    let wrong = "ä".repeat(50_000);
    let problems = read(&[("PORT", &wrong)]).expect_err("no port").to_string();
    assert!(problems.len() < 1_000, "{}", problems.len());
    assert!(problems.contains("ä… (99600 bytes more)"), "{problems}");
}

#[test]
fn words_for_nothing_are_no_names() {
    for word in ["none", "off"] {
        read(&[("CLIENT_IP_HEADER", word)]).expect_err(word);
        let config = read(&[("FLAGS_CACHE", word)]).expect(word);
        assert_eq!(config.flags.cache, None);
    }
}
