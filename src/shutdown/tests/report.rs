use super::*;

fn report() -> Report {
    Report {
        lame_duck: seconds(5),
        drain: Duration::from_millis(37),
        total: Duration::from_millis(5_040),
        requests: 1_200,
        connections: 64,
        served: true,
        ..Report::new(Cause::Sigterm)
    }
}

#[test]
fn a_clean_report_as_a_person_reads_it() {
    let report = report();
    assert!(report.is_clean());
    assert_eq!(
        format!("{:?}", report.exit_code()),
        format!("{:?}", ExitCode::SUCCESS)
    );
    assert_eq!(
        report.to_string(),
        "shutdown (SIGTERM): clean\n\
         \x20 lame duck     5.0 s\n\
         \x20 drain         37 ms   nothing was cut\n\
         \x20 workers        0 ms\n\
         \x20 closers        0 ms\n\
         \x20 in all        5.0 s   1200 requests on 64 connections served"
    );
}

#[test]
fn a_report_without_a_server_says_nothing_of_requests() {
    let report = Report {
        total: seconds(1),
        steps: vec![Step::new(Worker, "queue".to_owned(), seconds(1), Done)],
        ..Report::new(Cause::Sigterm)
    };
    assert_eq!(
        report.to_string(),
        "shutdown (SIGTERM): clean\n\
         \x20 workers        0 ms\n\
         \x20            worker queue: done (1.0 s)\n\
         \x20 closers        0 ms\n\
         \x20 in all        1.0 s"
    );
}

#[test]
fn a_report_that_is_not_clean_names_what_was_cut_and_what_failed() {
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    let step = |kind, name: &str, took, end| Step::new(kind, name.to_owned(), took, end);
    let report = Report {
        drain: seconds(15),
        workers: seconds(5),
        closers: Duration::from_millis(1_250),
        total: Duration::from_millis(21_250),
        at_once: true,
        cut: vec![
            cut_request(
                "GET /events",
                seconds(75),
                Some(peer),
                "sending the response",
            ),
            cut_request("GET /ws", seconds(20), None, "upgraded"),
            cut_request("", Duration::from_millis(480), None, "reading the head"),
        ],
        steps: vec![
            step(Worker, "mailer", seconds(5), TimedOut),
            step(
                Closer,
                "pool",
                Duration::from_millis(1_200),
                Failed("no such host".to_owned()),
            ),
            step(Closer, "broker", Duration::ZERO, Skipped),
            step(Closer, "cache", Duration::from_millis(3), Panicked),
            step(Flush, "traces", Duration::from_millis(50), Done),
        ],
        ..report()
    };
    assert!(!report.is_clean());
    assert_eq!(
        format!("{:?}", report.exit_code()),
        format!("{:?}", ExitCode::FAILURE)
    );
    assert_eq!(
        report.to_string(),
        "shutdown (SIGTERM): NOT CLEAN, ended at once by a second order\n\
         \x20 lame duck     5.0 s\n\
         \x20 drain        15.0 s   3 requests were CUT (1 reading the head, 1 sending the response, 1 upgraded):\n\
         \x20            GET /events, 75.0 s old, sending the response, from 192.0.2.1:4711\n\
         \x20            GET /ws, 20.0 s old, upgraded\n\
         \x20            (no complete head), 480 ms old, reading the head\n\
         \x20 workers       5.0 s\n\
         \x20            worker mailer: ABORTED, its time was up (5.0 s)\n\
         \x20 closers       1.2 s\n\
         \x20            closer pool: FAILED: no such host (1.2 s)\n\
         \x20            closer broker: SKIPPED (0 ms)\n\
         \x20            closer cache: PANICKED (3 ms)\n\
         \x20            flush traces: done (50 ms)\n\
         \x20 in all       21.2 s   1200 requests on 64 connections served"
    );
}

#[test]
fn a_long_list_of_cut_requests_is_cut_short() {
    let one = cut_request("GET /", SECOND, None, "in the handler");
    let report = Report {
        cut: vec![one; 23],
        ..report()
    };
    let text = report.to_string();
    assert!(
        text.contains("23 requests were CUT (23 in the handler):"),
        "{text}"
    );
    assert_eq!(text.matches("GET /, 1.0 s old, in the handler").count(), 20);
    assert!(text.contains("             and 3 more\n"), "{text}");
}

#[test]
fn every_blemish_makes_it_unclean() {
    let with = |change: fn(&mut Report)| {
        let mut report = report();
        change(&mut report);
        report.is_clean()
    };
    assert!(with(|_| {}));
    assert!(!with(|report| report.at_once = true));
    assert!(!with(|report| {
        let one = cut_request("GET /", SECOND, None, "in the handler");
        report.cut.push(one);
    }));
    for end in [Failed(String::new()), Panicked, TimedOut, CutShort, Skipped] {
        let mut report = report();
        let step = Step::new(Closer, "pool".to_owned(), SECOND, end.clone());
        report.steps.push(step);
        assert!(!report.is_clean(), "{end}");
    }
}

/// Text from a client reaches a terminal as visible ASCII.
#[test]
fn a_report_cannot_steer_the_terminal() {
    let nasty = "/a\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{200b}\u{7f}\r\n\tb";
    let mut request = RequestInfo::from_peer(None);
    request.method = Some("G\u{1b}T");
    request.path = Some(nasty);
    request.request_id = Some(nasty);
    let cut = CutRequest::new(request, SECOND, "in the handler");
    assert_eq!(cut.path, nasty, "the field is what came");
    let report = Report {
        cut: vec![cut.clone()],
        ..report()
    };
    for text in [cut.to_string(), report.to_string()] {
        let visible = |c: char| c == '\n' || (' '..='~').contains(&c);
        assert!(text.chars().all(visible), "{text:?}");
        assert!(text.contains("/a%1B[2J"), "{text:?}");
    }
    assert_eq!(cut.to_string().lines().count(), 1);
}
