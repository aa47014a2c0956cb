//! The start of the service, and its errors.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use rustix::process::Signal;

use crate::support::{
    client,
    service::{Service, command, refused},
};

#[test]
fn every_configuration_error_is_listed_at_once() {
    let wrong = [
        ("PORT", "http"),
        ("READ_TIMEOUT", "0s"),
        ("LAME_DUCK", "5"),
        ("RATE_LIMIT", "100/sec"),
    ];
    let (code, output) = refused(&wrong);

    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("4 settings are wrong"), "{output}");
    for (variable, value) in wrong {
        assert!(
            output.contains(&format!("{variable}={value}\n")),
            "{output}"
        );
    }
}

#[test]
fn budgets_that_do_not_fit_name_the_number_to_change() {
    let (code, output) = refused(&[
        ("PORT", "0"),
        ("LOG_LEVEL", "off"),
        ("DRAIN_TIMEOUT", "40s"),
    ]);

    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("DRAIN_TIMEOUT"), "{output}");
    assert!(output.contains("TERMINATION_GRACE"), "{output}");
}

#[test]
fn help_prints_usage_and_a_wrong_argument_is_an_error() {
    for (argument, code) in [("--help", 0), ("--helth", 2), ("serve", 2)] {
        let output = command(&[]).arg(argument).output().expect("an output");
        assert_eq!(output.status.code(), Some(code));
        let (said, unsaid) = match code {
            0 => (output.stdout, output.stderr),
            _ => (output.stderr, output.stdout),
        };
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("--healthcheck"), "{said}");
        assert_eq!(said.contains(&format!("{argument:?}")), code == 2, "{said}");
        assert_eq!(String::from_utf8_lossy(&unsaid), "");
    }
    let help = command(&[]).args(["migrate", "help"]).output();
    let help = help.expect("an output");
    assert!(help.status.success() && help.stderr.is_empty(), "{help:?}");
    assert!(String::from_utf8_lossy(&help.stdout).contains("migrate status"));
}

#[test]
fn argument_that_is_not_text_is_an_error_not_a_panic() {
    let argument = OsStr::from_bytes(b"--helth\xff");
    let output = command(&[]).arg(argument).output().expect("an output");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not text"), "{said}");
}

#[test]
fn starting_service_answers_but_is_not_ready() {
    let service = Service::start(&[("STARTUP_DELAY", "1s")]);

    let alive = client::get(service.address, "/healthz").expect("an answer");
    assert_eq!(alive.head.status, 200);
    let ready = client::get(service.address, "/readyz").expect("an answer");
    assert_eq!(ready.head.status, 503);
    assert_eq!(ready.json()["phase"], "starting");
    let started = client::get(service.address, "/startupz").expect("an answer");
    assert_eq!(started.head.status, 503);

    service.phase("ready");
    let ready = client::get(service.address, "/readyz").expect("an answer");
    assert_eq!(ready.head.status, 200);
    assert_eq!(ready.json()["status"], "pass");
}

#[test]
fn taken_port_is_an_error_not_a_panic() {
    let first = Service::start(&[]);
    let port = first.address.port().to_string();
    let (code, output) = refused(&[("HOST", "127.0.0.1"), ("PORT", &port)]);

    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("cannot listen on"), "{output}");
    assert!(!output.contains("panicked"), "{output}");
}

#[test]
fn start_with_the_defaults_has_no_warnings() {
    let service = Service::start_ready(&[]);
    service.signal(Signal::INT);
    let ended = service.ended();
    ended.assert_clean();
    for level in ["WARN", "ERROR"] {
        assert_eq!(ended.logged("level", level), None);
    }
}
