use crate::real_ip::TrustedProxies;
use std::net::IpAddr;

#[test]
fn trusted_proxies_are_shown_as_they_are_parsed() {
    let shown = |list: &str| list.parse::<TrustedProxies>().unwrap().to_string();
    assert_eq!(shown(""), "");
    assert_eq!(shown(" , \t\n"), "");
    assert_eq!(shown("Loopback"), "127.0.0.0/8, ::1");
    assert_eq!(shown("link_local"), "169.254.0.0/16, fe80::/10");
    assert_eq!(
        shown("private"),
        "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7"
    );
    assert_eq!(
        shown("::ffff:10.0.0.0/104 ::ffff:192.0.2.1"),
        "10.0.0.0/8, 192.0.2.1"
    );
    assert_eq!(
        shown("192.0.2.1/32,10.128.0.0/9,10.0.0.0/9"),
        "10.0.0.0/8, 192.0.2.1"
    );
    assert_eq!(shown("0.0.0.0/0,::/0"), "0.0.0.0/0, ::/0");
    assert_eq!(shown("Unix"), "unix");
    assert_eq!(shown("loopback unix,unix"), "unix, 127.0.0.0/8, ::1");
    assert!(!"unix".parse::<TrustedProxies>().unwrap().is_empty());
    assert!(TrustedProxies::none().is_empty());
    let one = TrustedProxies::from("::ffff:192.0.2.1".parse::<IpAddr>().unwrap());
    assert_eq!(one.to_string(), "192.0.2.1");
}

#[test]
fn an_invalid_entry_is_named_with_its_valid_form() {
    for (list, entry, expected) in [
        ("private, 10.1.2.3/8", "10.1.2.3/8", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::1/32", "write 2001:db8::/32"),
        ("10.0.0.0/33", "10.0.0.0/33", "0 to 32"),
        ("10.0.0.0/", "10.0.0.0/", "0 to 32"),
        ("10.0.0.0/+8", "10.0.0.0/+8", "0 to 32"),
        ("::/129", "::/129", "0 to 128"),
        ("010.0.0.0/8", "010.0.0.0/8", "not an address"),
        ("10.0/16", "10.0/16", "not an address"),
        ("loopback localhost", "localhost", "loopback"),
        ("fe80::1%eth0", "fe80::1%eth0", "not an address"),
        ("*", "*", "not an address"),
    ] {
        let error = list.parse::<TrustedProxies>().unwrap_err();
        assert_eq!(error.entry(), entry);
        let text = error.to_string();
        assert!(text.contains(entry) && text.contains(expected), "{text}");
    }
}
