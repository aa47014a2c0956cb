use super::*;

#[test]
fn the_page_serves_requests_with_any_body() {
    fn is_a_service<B, S: Service<Request<B>, Error = std::convert::Infallible> + Send + Sync>(
        _: &S,
    ) {
    }
    let (_, page) = page();
    fn is_an_app<A: App>(_: &A) {}
    is_a_service::<(), _>(&page);
    is_a_service::<String, _>(&page);
    is_an_app(&page);
}

#[test]
fn json_round_trips() {
    let every: String = (0u32..=0x2100).filter_map(char::from_u32).collect();
    for text in [
        "",
        "\"",
        "\\",
        "a\r\nb\tc",
        "<img src=x onerror='1'>",
        "\u{1F986}\u{2028}",
        &every,
    ] {
        let mut json = Json::default();
        json.array(|json| {
            json.text(text);
            json.number(u64::MAX);
            json.array(|_| {});
            json.object(|json| {
                json.key(text).bool(true);
                json.key("b").or_null(None::<()>, |_, ()| {});
                json.key("c")
                    .or_null(Some(7), |json, seven| json.number(seven));
            });
        });
        let read: Value = serde_json::from_str(&json.finish()).unwrap();
        let mut expected = json!([text, u64::MAX, [], {"b": null, "c": 7}]);
        expected[3][text] = Value::Bool(true);
        assert_eq!(read, expected, "{text:?}");
    }
}

#[tokio::test]
async fn the_page_is_one_file_without_external_resources() {
    let (_, page) = page();
    for path in ["/", "/?a=b"] {
        let answer = get(&page, path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers();
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["content-security-policy"], POLICY);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        let body = answer.body();
        assert_eq!(body.size_hint().exact(), Some(PAGE.len() as u64));
        assert_eq!(text(answer).await, PAGE);
    }
    for forbidden in [
        "http:",
        "https:",
        "src=",
        "innerHTML",
        "insertAdjacent",
        "eval(",
        "style=",
        "onclick",
    ] {
        assert!(!PAGE.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn the_policy_lets_the_pages_own_script_and_style_run() {
    for tag in ["script", "style"] {
        let parts: Vec<_> = PAGE.split(&format!("<{tag}>")).collect();
        assert_eq!(parts.len(), 2, "one {tag}");
        let inside = parts[1].split(&format!("</{tag}>")).next().unwrap();
        let source = format!("{tag}-src 'sha256-{}'", base64(&Sha256::digest(inside)));
        assert!(POLICY.contains(&source), "it has to say: {source}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]),
                false => '=',
            });
        }
    }
    text
}

#[tokio::test]
async fn anything_else_is_refused() {
    let (_, page) = page();
    for path in ["/favicon.ico", "/live/", "/status", "/snapshot/x", "/Live"] {
        assert_eq!(
            get(&page, path).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    for path in ["/", "/live", "/snapshot"] {
        for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
            let answer = ask(&page, method, path).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.headers()["allow"], "GET, HEAD");
        }
        let head = ask(&page, Method::HEAD, path).await;
        let whole = get(&page, path).await;
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers(), whole.headers());
    }
    assert_eq!(text(ask(&page, Method::HEAD, "/live").await).await, "");
}

#[tokio::test]
async fn a_page_of_another_site_gets_nothing() {
    let (_, page) = page();
    let ask = |mut page: StatusPage, path: &str, name: &str, value: &str| {
        let request = Request::builder().uri(path).header(name, value);
        page.call(request.body(()).unwrap())
    };
    for path in ["/", "/snapshot", "/live", "/nothing"] {
        let evil = ask(page.clone(), path, "host", "evil.example")
            .await
            .unwrap();
        assert_eq!(evil.status(), StatusCode::MISDIRECTED_REQUEST, "{path}");
        let other = ask(page.clone(), path, "sec-fetch-site", "cross-site").await;
        assert_eq!(other.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
    }
    for host in ["localhost:8081", "10.0.3.17:8081", "[::1]:8081", "shop"] {
        let answer = ask(page.clone(), "/snapshot", "host", host).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
        let headers = answer.headers();
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
    let named = page.allowed_hosts(AllowedHosts::private().and("evil.example"));
    let answer = ask(named, "/", "host", "evil.example").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
