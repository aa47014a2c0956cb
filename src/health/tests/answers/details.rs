use super::*;

#[tokio::test]
async fn details_are_shown_to_trusted_peers_only() {
    let health = Health::new(&ready())
        .version("1.2.3")
        .optional_check("secret-db", || async { Err("secret") });
    let private = |ip: std::net::IpAddr| ip.to_string().starts_with("10.");
    // The peer, and whether `loopback`, `to(private)`, `always` and `never` show it details.
    let table: [(Option<&str>, [bool; 4]); 7] = [
        (Some("127.0.0.1:1"), [true, false, true, false]),
        (Some("127.8.8.8:1"), [true, false, true, false]),
        (Some("[::1]:1"), [true, false, true, false]),
        (Some("[::ffff:127.0.0.1]:1"), [true, false, true, false]),
        (Some("[::ffff:10.0.0.1]:1"), [false, true, true, false]),
        (Some("203.0.113.9:1"), [false, false, true, false]),
        (None, [false, false, true, false]),
    ];
    let policies = [
        Details::default(),
        Details::to(private),
        Details::always(),
        Details::never(),
    ];
    for (peer, shown) in table {
        for (policy, shown) in policies.iter().zip(shown) {
            let layer = health.clone().details(policy.clone()).layer();
            let request = || match peer {
                Some(peer) => from(peer, "/readyz"),
                None => Request::get("/readyz").body(()).unwrap(),
            };
            let answer = ask(&layer, request()).await;
            assert_eq!(
                answer.status(),
                200,
                "the status does not depend on who asks"
            );
            let seen = brief(&answer).contains("secret") && brief(&answer).contains("1.2.3");
            assert_eq!(seen, shown, "{peer:?} {policy:?}");
            if !shown {
                assert_eq!(
                    brief(&answer),
                    "{\"status\":\"pass\",\"phase\":\"ready\"}\n"
                );
            }
            // A web page that makes a browser send requests must not read more than the status.
            for (name, value) in [("host", "evil.example"), ("sec-fetch-site", "cross-site")] {
                let mut request = request();
                let headers = request.headers_mut();
                headers.insert(name, value.parse().unwrap());
                let answer = ask(&layer, request).await;
                assert_eq!(answer.status(), 200);
                let shown = brief(&answer).contains("secret");
                assert!(!shown, "{name} {policy:?}");
            }
            // A request forwarded by a proxy comes from another client than the peer.
            for name in ["x-forwarded-for", "forwarded", "x-real-ip", "via"] {
                let mut request = request();
                request
                    .headers_mut()
                    .insert(name, "127.0.0.1".parse().unwrap());
                let answer = ask(&layer, request).await;
                let always = shown && format!("{policy:?}") == "Details::always";
                assert_eq!(
                    brief(&answer).contains("secret"),
                    always,
                    "{name} {policy:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_trusted_header_makes_no_client_local() {
    let health = Health::new(&ready()).version("1.2.3");
    let mut request = from("203.0.113.9:1", "/readyz");
    let info = request.extensions_mut().get_mut::<ConnInfo>().unwrap();
    let local = Some("127.0.0.1".parse().unwrap());
    info.client = Some(crate::ClientIp::new(
        local,
        info.peer,
        crate::ClientIpSource::Peer,
    ));
    assert!(!brief(&ask(&health.layer(), request).await).contains("1.2.3"));
}
